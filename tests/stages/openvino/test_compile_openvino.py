"""openvino/compile_openvino.py."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import conversions
import harness
import nets
import pytest
import torch
from conversions import agrees, capture, export
from harness import BATCH_SEQ, TOKENS, backend, contents
from nets import Attention, TinyConv, TwoOutputs
from torch import nn

from pipeline.artifact import carried
from pipeline.errors import CheckFailed
from pipeline.running.isolation import Isolation
from stages.interface.edits import NOTHING
from stages.interface.interface import Dim, Input, Interface
from stages.onnx import file as onnx_file
from stages.openvino.compile_openvino import CompileOpenvino

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _openvino():
    backend("openvino")


def compiled_net(net, folder, **interface):
    return conversions.ir(export("trace", net, folder, **interface), folder / "ir")


def read(artifact):
    import openvino

    return openvino.Core().read_model(artifact.file)


def ports(those):
    return [(p.any_name, str(p.partial_shape)) for p in those]


def bin_size(artifact):
    return artifact.file.with_suffix(".bin").stat().st_size


def test_dynamic_dimensions_have_their_bounds_and_ports_their_names(ir):
    model = read(ir)
    assert ports(model.inputs) == [("input", "[1..8,3,32,32]")]
    assert ports(model.outputs) == [("logits", "[1..8,10]")]
    assert ir.notes["says"] == "input [1..8,3,32,32]"


def test_several_outputs_keep_their_names_and_order(tmp_path):
    model = read(compiled_net(TwoOutputs(), tmp_path, outputs=["scores", "features"]))
    assert ports(model.outputs) == [("scores", "[1..8,10]"), ("features", "[1..8,4,32,32]")]


@pytest.mark.slow  # through the command line in test_models
def test_several_dynamic_dimensions_are_bounded_each(tmp_path):
    model = read(compiled_net(Attention(), tmp_path, inputs=TOKENS, dims=BATCH_SEQ))
    assert ports(model.inputs) == [("tokens", "[1..8,2..16,8]")]


def test_a_model_without_dynamic_dimensions_is_compiled_for_its_one_shape(tmp_path):
    artifact = compiled_net(TwoOutputs(), tmp_path, inputs={"image": Input([2, 3, 32, 32])}, dims={})
    assert ports(read(artifact).inputs) == [("image", "[2,3,32,32]")]
    assert ports(read(artifact).outputs) == [("output_0", "[2,10]"), ("output_1", "[2,4,32,32]")]


@pytest.mark.slow
def test_graphs_of_several_opsets_become_one_ir(tiny, tmp_path):
    irs = [conversions.ir(export("export", tiny, tmp_path / str(n), opset=n), tmp_path / f"ir{n}") for n in (18, 20)]
    assert contents(irs[0].folder) == contents(irs[1].folder)
    assert irs[0].facts == irs[1].facts
    assert "opset" not in irs[0].facts


def test_weights_are_stored_in_float32_when_asked(ir):
    # 108 + 4 of the convolution and 40 + 10 of the head, and no constant of the norm: it was folded.
    assert bin_size(ir) >= 4 * (112 + 50)


def test_float16_storage_halves_the_weights(graph, tmp_path):
    # A larger head, beside which the shape constants that stay as they are do not matter.
    whole, half = (bin_size(conversions.ir(graph, tmp_path / s, storage=s)) for s in ("float32", "float16"))
    assert half == pytest.approx(whole / 2, rel=0.1)


@pytest.mark.parametrize("storage", ["float32", "float16"])
def test_the_ir_says_where_it_came_from(graph, tmp_path, storage):
    artifact = conversions.ir(graph, tmp_path / "out", storage=storage)
    info = {
        name: read(artifact).get_rt_info(["drydock", name]).astype(str) for name in ("weights", "source", "storage")
    }
    assert "UNTRAINED: drawn at random with seed 0" in json.loads(info["weights"])["says"]
    assert json.loads(info["source"])["factory"] == "nets.TinyConv"
    assert info["storage"] == artifact.facts["storage"] == storage


def test_two_runs_are_the_same_bytes(graph, ir, tmp_path):
    assert contents(conversions.ir(graph, tmp_path / "again").folder) == contents(ir.folder)


@pytest.mark.parametrize("how", ["trace", *(pytest.param(h, marks=pytest.mark.slow) for h in ("export", "script"))])
def test_two_direct_conversions_are_the_same_bytes_whatever_was_converted_between(tmp_path, how):
    program = capture(how, TwoOutputs(), tmp_path)
    first = conversions.ir(program, tmp_path / "first")
    conversions.ir(capture(how, nets.TinyConv(), tmp_path / "between"), tmp_path / "between" / "ir")
    assert contents(conversions.ir(program, tmp_path / "again").folder) == contents(first.folder)


class Branches(nn.Module):
    """A loop and a branch, which have graphs as bodies."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(int(x.shape[0])):
            x = self.head(x) + 1.5
        return x * 2.5 if bool(x.sum() > 0) else x - 3.5


def test_the_bodies_of_branches_and_loops_are_the_same_bytes_too(tmp_path):
    program = capture("script", Branches(), tmp_path, inputs=harness.VECTOR)
    first, again = (conversions.ir(program, tmp_path / name) for name in ("first", "again"))
    assert (
        "<body>" in (first.folder / "model.xml").read_text() or "then_body" in (first.folder / "model.xml").read_text()
    )
    assert contents(first.folder) == contents(again.folder)


def test_an_input_keeps_a_name_that_looks_like_a_number_of_openvinos(tmp_path):
    spec = {"Image_1": Input([2, 4], fill="normal")}
    artifact = conversions.ir(capture("trace", nn.Linear(4, 4), tmp_path, inputs=spec, dims={}), tmp_path / "ir")
    assert [p.get_node().get_friendly_name() for p in read(artifact).inputs] == ["Image_1"]


class SameTwice(TwoOutputs):
    """Returns one tensor under two names."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores, _ = super().forward(x)
        return scores, scores


class InputBack(TwoOutputs):
    """Returns its unchanged input too."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores, _ = super().forward(x)
        return scores, x


@pytest.mark.parametrize(
    ("net", "again", "route"),
    [
        (SameTwice(), "[1..8,10]", "direct"),
        (InputBack(), "[1..8,3,32,32]", "onnx"),
        pytest.param(SameTwice(), "[1..8,10]", "onnx", marks=pytest.mark.slow),
        pytest.param(InputBack(), "[1..8,3,32,32]", "direct", marks=pytest.mark.slow),
    ],
)
def test_one_tensor_may_be_returned_twice_and_an_input_as_it_is(tmp_path, net, again, route):
    make = capture if route == "direct" else export
    artifact = conversions.ir(make("trace", net, tmp_path, outputs=["scores", "again"]), tmp_path / "ir")
    assert ports(read(artifact).inputs) == [("input", "[1..8,3,32,32]")]
    assert ports(read(artifact).outputs) == [("scores", "[1..8,10]"), ("again", again)]
    agrees(artifact, tmp_path)


def test_neither_file_tells_where_it_was_made(graph, ir, tmp_path):
    for path in ir.folder.iterdir():
        assert str(graph.folder).encode() not in path.read_bytes()
        assert b"nets.py" not in path.read_bytes()


def test_only_the_two_files_of_an_ir_are_made(ir):
    assert sorted(contents(ir.folder)) == ["model.bin", "model.xml"]


def test_weights_beside_the_graph_are_compiled_too(graph, ir, tmp_path, monkeypatch):
    import onnx

    folder = tmp_path / "external"
    folder.mkdir()
    model = onnx_file.read(graph.file)
    onnx.save_model(model, folder / "model.onnx", save_as_external_data=True, location="w.data", size_threshold=64)
    artifact = conversions.ir(replace(graph, folder=folder), tmp_path / "ir")
    assert bin_size(artifact) == bin_size(ir)


def test_a_dimension_that_is_not_dynamic_in_the_ir_is_refused_by_name(graph, tmp_path):
    narrow = replace(Interface.read(graph), dims={"batch": Dim(2, 2, 2)})
    with pytest.raises(CheckFailed, match="dimension 0 of input 'input' was asked for as batch and is 2"):
        conversions.ir(replace(graph, facts=narrow.facts), tmp_path / "ir")


@pytest.mark.parametrize("storage", ["fp16", "int8", "bfloat16"])
def test_a_storage_type_that_is_unknown_is_a_problem(storage):
    (problem,) = CompileOpenvino(storage, NOTHING, None, []).problems()
    assert (problem.what, problem.allowed) == (f"storage is {storage}", "float32 or float16")


def test_the_converter_has_no_telemetry_to_report_through():
    # In a process of its own: here somebody may have imported openvino already.
    script = (
        "from stages.openvino import library; library.load();"
        "from openvino.tools.ovc import telemetry_utils as t; print(t.tm.__name__)"
    )
    process = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "openvino.tools.ovc.telemetry_stub"


def test_an_ir_made_in_a_process_of_its_own_has_the_same_bytes(tmp_path):
    stage = CompileOpenvino("float16", NOTHING, None, [])
    program = export("trace", TinyConv(), tmp_path)
    here = harness.run_stage(stage, program, tmp_path / "here")
    (tmp_path / "there").mkdir()
    there, _ = Isolation().run(stage, {"program": program}, tmp_path / "there")
    assert contents(there.folder) == contents(here.folder)
    assert carried(program.facts, there.facts) == here.facts
    assert there.notes == here.notes


class OneTensor(nn.Module):
    """Returns values that become one tensor in OpenVINO, and values from which its compiler removes operations."""

    def forward(self, x):
        y = x.relu()
        return y, y, y.clone(), x, torch.float_power(x + 9, 2.5).float()


@pytest.mark.slow
def test_one_tensor_may_be_several_outputs_under_their_own_names(tmp_path):
    artifact = conversions.ir(
        capture("export", OneTensor(), tmp_path, inputs={"x": Input(["batch", 4])}), tmp_path / "ir"
    )
    agrees(artifact, tmp_path)
