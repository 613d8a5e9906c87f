"""capture/programs.py: a captured program as exporters and converters take it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import onnx_ops
import pytest
import torch
from conversions import capture
from harness import VECTOR, module, record, run_stage
from nets import TinyConv
from torch import nn

from stages.capture import programs
from stages.capture.capture_export import CaptureExport


@pytest.mark.slow
@pytest.mark.parametrize("how", ["export", "trace"])
def test_a_program_from_the_store_finds_its_operators_in_a_process_that_did_not_build_it(tmp_path, how):
    captured = capture(how, onnx_ops.ScaleAdd(), tmp_path, inputs=VECTOR)
    code = f"""
import sys
from pathlib import Path
sys.path[:0] = {[str(Path(onnx_ops.__file__).parent), str(Path(onnx_ops.__file__).parents[1])]}
from pipeline.artifact import Artifact, Kind
from stages.capture import programs
facts = {{"source": {{"factory": "onnx_ops.ScaleAdd"}}}}
source = Artifact(Kind({str(captured.kind)!r}), Path({str(captured.folder)!r}), facts=facts)
assert "onnx_ops" not in sys.modules
programs.load(source)
assert "onnx_ops" in sys.modules"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_a_program_in_memory_is_taken_as_it_is_and_a_script_is_read_anew(tmp_path):
    net = module(TinyConv())
    inputs = {"module": net, "reference": record(net, tmp_path / "reference")}
    exported = run_stage(CaptureExport(0), inputs, tmp_path / "exported")
    assert exported.live is not None
    assert programs.load(exported) is exported.live
    traced = capture("trace", net, tmp_path / "trace")
    read = programs.load(traced)
    assert programs.load(replace(traced, live=read)) is not read


class HandsOn(nn.Module):
    """Returns a tensor twice, a copy of it, and a part of what it is given."""

    def forward(self, x):
        y = x.relu()
        return y, y, y.clone(), x, x.detach()


def test_outputs_that_a_converter_takes_for_one_become_their_own():
    program = torch.export.export(HandsOn(), (torch.randn(2, 4),)).run_decompositions({})
    aten = torch.ops.aten
    programs.own_outputs(
        program, [(aten.unsqueeze.default, 0), (aten.squeeze.dims, [0])], {aten.clone.default, aten.detach.default}
    )
    x = torch.randn(2, 4)
    assert [t.tolist() for t in program.module()(x)] == [t.tolist() for t in HandsOn()(x)]
    returned = program.graph.output_node().args[0]
    assert [n.target for n in returned[1:]].count(aten.squeeze.dims) == 3
    assert len(set(returned)) == len(returned)
