"""CompileCoremlAuto: the first capture whose package agrees with the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from harness import backend, module, record, run_stage, shipped, tolerance
from nets import Attention, Bessel, ValueBranch
from torch import nn

from pipeline.artifact import Artifact
from pipeline.errors import StageError
from stages.interface.interface import Input

backend("coremltools")


def compiled(net: nn.Module, folder: Path, **interface: Any) -> Artifact:
    net = net.eval()
    stage = shipped("compile_coreml_auto", tolerance=tolerance("fp32"))
    given = {"module": module(net), "reference": record(net, folder / "reference", **interface)}
    return run_stage(stage, given, folder / "package")


def test_export_is_taken_where_it_serves(tmp_path: Path) -> None:
    shape = {"inputs": {"input": Input(["batch", 3, 8], fill="normal")}}
    made = compiled(Attention(), tmp_path, **shape)
    assert made.facts["capture"] == "export"
    assert made.notes["says"].startswith("by capture=export: input 1..8, 3, 8 float32")
    assert [p.name for p in (tmp_path / "package").iterdir()] == ["model.mlpackage"]


def test_trace_is_taken_where_export_does_not_serve_and_the_reason_is_told(tmp_path: Path) -> None:
    made = compiled(ValueBranch(), tmp_path, inputs={"input": Input([2, 4])}, dims={})
    assert made.facts["capture"] == "trace"
    assert "not capture=export: torch.export cannot capture the model" in made.notes["says"]
    assert made.notes["caution"].startswith("NOT CHECKED: branches or sizes are fixed")


def test_what_was_wrong_with_each_is_told_when_none_serves(tmp_path: Path) -> None:
    with pytest.raises(StageError) as told:
        compiled(Bessel(), tmp_path, inputs={"input": Input([2, 4])}, dims={})
    lacking = "coremltools has no translation of aten::special_bessel_j0"
    assert [p.what.splitlines()[0] for p in told.value.problems] == [
        f"capture={capture}: {lacking}" for capture in ("export", "trace")
    ]
