"""samples/hold_out.py: real samples that ranges are not calibrated on and every check asks about."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from harness import VECTOR, module, record, run_stage
from torch import nn

from stages.reference import cases as reference_cases
from stages.samples import files as sample_files
from stages.samples.draw_samples import DrawSamples
from stages.samples.hold_out import HoldOut


@pytest.fixture(scope="module")
def net():
    return module(nn.Linear(4, 3))


@pytest.fixture(scope="module")
def reference(net, tmp_path_factory):
    return record(net, tmp_path_factory.mktemp("held_out") / "reference", inputs=VECTOR)


def saved(folder, count):
    np.savez(folder / "real.npz", input=np.random.default_rng(0).standard_normal((count, 4)).astype(np.float32))
    return {"source": "arrays", "path": str(folder / "real.npz")}


def held_out(source, reference, folder, net=None):
    inputs = {"reference": reference, **({"module": net} if net else {})}
    return run_stage(HoldOut(source, 8, None, 0), inputs, folder)


def real_cases(reference):
    return [c for c in reference_cases.read(reference) if c.label.startswith("samples")]


def test_checks_ask_about_one_in_five_and_calibration_takes_the_others(net, reference, tmp_path):
    source = saved(tmp_path, 20)
    reference_with_samples = held_out(source, reference, tmp_path / "held", net)
    (case,) = real_cases(reference_with_samples)
    assert [c.label for c in reference_cases.read(reference_with_samples)][:-1] == [
        c.label for c in reference_cases.read(reference)
    ]
    np.testing.assert_array_equal(case.outputs["output"], net.live(torch.from_numpy(case.inputs["input"])))
    calibrated = sample_files.read(
        run_stage(DrawSamples(source, 300, None, 0), reference_with_samples, tmp_path / "samples")
    )
    assert (len(case.inputs["input"]), len(calibrated)) == (4, 16)
    assert reference_with_samples.notes["says"] == "4 of 20 calibration samples are for checks alone"


@pytest.mark.parametrize(
    ("count", "with_module", "why"),
    [(0, True, "random draws"), (20, False, "no PyTorch model"), (4, True, "there are 4 calibration samples")],
)
def test_without_real_samples_to_spare_the_reference_goes_on_as_it_is(
    count, with_module, why, net, reference, tmp_path
):
    source = saved(tmp_path, count) if count else {"source": "random"}
    reference_with_samples = held_out(source, reference, tmp_path / "held", net if with_module else None)
    assert why in reference_with_samples.notes["says"]
    assert reference_with_samples.file.read_bytes() == reference.file.read_bytes()
    assert reference_with_samples.facts == reference.facts
