"""onnx/file.py: no file reveals where it was made."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from conversions import capture
from harness import contents, reference_in, run_stage
from nets import TwoOutputs
from onnx import TensorProto, helper

from stages.onnx import file as onnx_file
from stages.onnx.export_onnx import ExportOnnx
from stages.onnx.export_torchscript import ExportTorchscript

ROOT = Path(__file__).parents[3]
# A model with a subgraph, a submodule and a scripted constant, exported by both exporters; run in folders of its own.
MAKE = """
import sys; from pathlib import Path
sys.path[:0] = sys.argv[1:3]
import torch, net; from pipeline.artifact import Artifact, Kind
from stages.interface.interface import Dim, Input
from stages.capture.capture_export import CaptureExport; from stages.capture.capture_trace import CaptureTrace
from stages.onnx.export_onnx import ExportOnnx; from stages.onnx.export_torchscript import ExportTorchscript
from stages.reference.record_reference import RecordReference
torch.manual_seed(0)
inputs, dims = {"input": Input(["batch", 4], fill="normal")}, {"batch": Dim(1, 2, 8)}
facts = {"source": {"factory": "net.Net", "kwargs": {}}}
model = Artifact(Kind.MODULE, live=net.Net().eval().requires_grad_(False), facts=facts)
def run(stage, inputs, *place):
    folder = Path(*place)
    folder.mkdir(parents=True)
    result = stage.run(inputs, folder)
    return Artifact(result.kind, folder, facts={**facts, **result.facts}, live=result.live)
stage = RecordReference(inputs, dims, ["y"], None, None, False, None, [], 0, "quick", None, 16)
reference = run(stage, {"model": model}, "reference")
for capture, export in (
    (CaptureExport(2**30), ExportOnnx(18, {}, False)), (CaptureTrace(), ExportTorchscript(17, {}, False))
):
    name = type(export).__name__
    program = run(capture, {"module": model, "reference": reference}, name, "program")
    run(export, {"program": program, "reference": reference}, name, "graph")
"""
NET = """
import torch
from torch import nn
class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.line = nn.LayerNorm(4), nn.Linear(4, 4)
    def forward(self, x):
        return self.line(self.norm(x)) + torch.arange(4)
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(2))
    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x.softmax(-1).reshape(x.shape[0], -1)
"""


@pytest.fixture(scope="module")
def exports(tmp_path_factory) -> dict[str, Path]:
    """The graphs of one model from three places: a checkout, another folder, and an installed copy of us."""
    folders = {}
    for place, name in {"here": "here", "elsewhere": "a/longer/way/elsewhere", "installed": "i"}.items():
        folders[place] = folder = tmp_path_factory.mktemp(place) / name
        folder.mkdir(parents=True)
        (folder / "net.py").write_text(NET)
        ours = ROOT
        if place == "installed":
            ours = folder / "site-packages"
            for package in ("pipeline", "stages"):
                shutil.copytree(ROOT / package, ours / package, ignore=shutil.ignore_patterns("__pycache__"))
        command = [sys.executable, "-c", MAKE, str(ours), str(folder)]
        subprocess.run(command, cwd=folder, check=True, timeout=300, capture_output=True)
    return folders


@pytest.mark.slow  # test_older_records makes an export of another checkout and another time again, byte for byte
@pytest.mark.parametrize("exporter", ["ExportOnnx", "ExportTorchscript"])
def test_equal_models_are_equal_bytes_wherever_they_are_exported(exports, exporter):
    first, *others = (contents(folder / exporter / "graph") for folder in exports.values())
    assert list(first) == ["model.onnx"]
    assert others == [first, first]


@pytest.mark.slow  # by each exporter in a test of its own: test_export_onnx, test_export_torchscript
@pytest.mark.parametrize("exporter", ["ExportOnnx", "ExportTorchscript"])
def test_no_file_tells_where_it_was_made(exports, exporter):
    for folder in exports.values():
        content = (folder / exporter / "graph" / "model.onnx").read_bytes()
        for tell in (folder, folder.name, ROOT, sys.prefix, "net.py", "site-packages", "stack_trace"):
            assert len(str(tell)) < 4 or str(tell).encode() not in content


@pytest.mark.parametrize("keep", [True, pytest.param(False, marks=pytest.mark.slow)])  # False: test_export_onnx
@pytest.mark.parametrize("how", ["export", "trace"])
def test_keep_source_keeps_each_nodes_stack_trace(tmp_path, how, keep):
    program = capture(how, TwoOutputs(), tmp_path)
    stage = ExportOnnx(18, {}, keep) if how == "export" else ExportTorchscript(17, {}, keep)
    inputs = program if how == "export" else {"program": program, "reference": reference_in(tmp_path)}
    graph = onnx.load(run_stage(stage, inputs, tmp_path / "graph").file).graph
    (conv,) = (n for n in graph.node if n.op_type == "Conv")
    text = conv.doc_string + "".join(p.value for p in conv.metadata_props)
    assert ("nets.py" in text) is keep


def test_every_place_that_can_hold_text_is_emptied():
    tensor = helper.make_tensor("t", TensorProto.FLOAT, [1], [1.0])
    value = helper.make_tensor_value_info("v", TensorProto.FLOAT, [1])
    constant = helper.make_node("Constant", [], ["c"], value=tensor)
    inner = helper.make_graph([constant], "inner", [], [value], [tensor])
    branch = helper.make_node("If", ["b"], ["v"], then_branch=inner, else_branch=inner)
    function = helper.make_function("d", "f", [], ["c"], [constant], [helper.make_opsetid("", 18)], value_info=[value])
    graph = helper.make_graph([branch], "g", [value], [value], [tensor], value_info=[value])
    model = helper.make_model(graph, functions=[function])
    before = model.SerializeToString()
    places = fill_text(model)
    onnx_file.strip(model)
    assert places >= {"ModelProto", "GraphProto", "NodeProto", "AttributeProto", "TensorProto", "ValueInfoProto"}
    assert {"FunctionProto"} <= places
    assert model.SerializeToString() == before


def fill_text(model) -> set[str]:
    """Writes a path into every field of a model that can contain one. Returns the kinds of message with such fields."""
    kinds, pending = set(), [model]
    while pending:
        message = pending.pop()
        kind = message.DESCRIPTOR.name
        names = {f.name for f in message.DESCRIPTOR.fields}
        if "doc_string" in names:
            message.doc_string = "/home/me/net.py"
            kinds.add(kind)
        if "metadata_props" in names:
            message.metadata_props.add(key="path", value="/home/me/net.py")
            kinds.add(kind)
        for _, value in message.ListFields():
            values = value if hasattr(value, "add") else [value]
            pending += [v for v in values if hasattr(v, "ListFields") and v.DESCRIPTOR.name != "StringStringEntryProto"]
    return kinds


def test_operators_outside_onnx_are_counted_in_subgraphs_and_functions_too(tmp_path):
    def custom(name):
        return helper.make_node(name, ["x"], ["y"], domain="my")

    imports = [helper.make_opsetid(d, v) for d, v in (("", 18), ("my", 1), ("ai.onnx.ml", 3))]
    function = helper.make_function("my", "Known", ["x"], ["y"], [custom("Op")], imports)
    inner = helper.make_graph([custom("Op")], "inner", [], [])
    nodes = [
        helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner),
        custom("Known"),
        custom("Other"),
        helper.make_node("Binarizer", ["x"], ["w"], domain="ai.onnx.ml"),
    ]
    model = helper.make_model(helper.make_graph(nodes, "g", [], []), functions=[function], opset_imports=imports)
    onnx.save(model, tmp_path / "model.onnx")
    assert onnx_file.custom_operators(tmp_path / "model.onnx") == {"my::Op": 3, "my::Other": 1}
