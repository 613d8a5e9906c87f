"""checking/unlike.py: a check that fails on noise alone names the calibration before any layer."""

from dataclasses import replace

import numpy as np
import pytest
from conversions import export, reference_in
from harness import VECTOR, module, run_stage, tolerance
from torch import nn

from pipeline.artifact import Artifact
from pipeline.errors import CheckFailed
from stages.checking import unlike
from stages.checking.check import Check
from stages.openvino.format import OPENVINO
from stages.reference.parity import Parity
from stages.samples.hold_out import HoldOut


class Scaled(nn.Module):
    def forward(self, x):
        return x * 2


class Clipped(nn.Module):
    """As ranges that are calibrated on numbers up to 0.1 make it."""

    def forward(self, x):
        return x.clamp(-0.1, 0.1) * 2


def refused(tmp_path, largest, origin="arrays"):
    """The problem of a check, with real samples up to a number, of an artifact that was calibrated on its kind."""
    export("export", Scaled(), tmp_path / "exact", inputs=VECTOR)
    exported = export("export", Clipped(), tmp_path / "clipped", inputs=VECTOR)
    values = np.random.default_rng(0).uniform(-largest, largest, (20, 4)).astype(np.float32)
    np.savez(tmp_path / "real.npz", input=values)
    held_out = HoldOut({"source": "arrays", "path": str(tmp_path / "real.npz")}, 8, None, 0)
    inputs = {"reference": reference_in(tmp_path / "exact"), "module": module(Scaled())}
    reference = run_stage(held_out, inputs, tmp_path / "held")
    artifact = replace(exported, facts={**exported.facts, "quantization": {"samples": {"count": 16, "from": origin}}})
    with pytest.raises(CheckFailed) as caught:
        Check("float32", {}, [], tolerance("int8"), False).run(
            {"artifact": artifact, "reference": reference}, tmp_path / "check"
        )
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        ("arrays", "'model.inputs.input.fill={file: FILE.npz}', inputs like those, by name; else "),
        ("images", "'model.inputs.input.fill={image: FILE}', a photograph like those; else "),
    ],
)
def test_where_all_real_samples_agree_the_drawn_ones_are_named_first(tmp_path, origin, command):
    problem = refused(tmp_path, 0.1, origin)
    assert f"the likely cause: ranges are calibrated on 16 samples ({origin}). It agrees on the batch" in problem.what
    assert problem.command.startswith(command)


@pytest.mark.parametrize(("largest", "origin"), [(1.0, "arrays"), (0.1, "RANDOM draws")])
def test_where_samples_fail_too_or_are_random_they_are_not(tmp_path, largest, origin):
    assert "the likely cause" not in refused(tmp_path, largest, origin).what


def test_a_cache_in_fewer_bits_is_named_where_it_costs_more_than_is_allowed():
    artifact = Artifact(OPENVINO, facts={"stateful": {"cache": "int8"}})
    message = unlike.explained(artifact, Parity([], ["off"]))
    assert "its cache is kept in int8" in message.sentence
    assert message.command.startswith("stages.stateful.cache=float32; or ")
    assert unlike.explained(Artifact(OPENVINO, facts={"stateful": {"cache": "float32"}}), Parity([], ["off"])) is None
