"""tensorrt/assess_tensorrt.py: predicts whether TensorRT's parser accepts a graph, without TensorRT."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch
import torchvision
from conversions import export
from harness import BATCH, BATCH_SEQ, TOKENS, run_stage
from nets import Attention, GraphBranch, TinyConv, TwoOutputs
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from pipeline.artifact import Artifact
from pipeline.errors import StageError
from stages.interface.interface import Dim, Input, Interface, Output
from stages.onnx import file as onnx_file
from stages.onnx.format import ONNX
from stages.tensorrt import readiness
from stages.tensorrt.assess_tensorrt import AssessTensorrt

BOTH = ("10", "11")


def assess(graph, folder, releases=BOTH, plugins=(), profiles=None):
    return run_stage(AssessTensorrt(list(releases), list(plugins), profiles), graph, folder)


def graph_of(nodes, folder, *, opset=18, ports=((TensorProto.FLOAT, ["batch", 8]),) * 2, weights=(), **opsets):
    """x to y, by nodes (type, inputs, outputs, attributes), each named for its first output."""
    operations = []
    for kind, inputs, results, *more in nodes:
        domain, _, operator = kind.rpartition("::")
        attributes = dict(*more)
        operations.append(helper.make_node(operator, inputs, results, name=results[0], domain=domain, **attributes))
    x, y = (helper.make_tensor_value_info(n, *port) for n, port in zip("xy", ports, strict=True))
    initialisers = [numpy_helper.from_array(np.asarray(v), n) for n, v in dict(weights).items()]
    graph = helper.make_graph(operations, "graph", [x], [y], initialisers)
    versions = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, v) for d, v in opsets.items())]
    folder.mkdir()
    onnx.save(helper.make_model(graph, opset_imports=versions, ir_version=8), folder / "model.onnx")
    names = {TensorProto.FLOAT: "float32", TensorProto.INT64: "int64", TensorProto.DOUBLE: "float64"}
    interface = Interface(
        {"x": Input(list(ports[0][1]), names.get(ports[0][0], "float32"))},
        {"batch": Dim(1, 4, 16)},
        {"y": Output([], list(ports[1][1]), "float32")},
    )
    return Artifact(ONNX, folder, facts=interface.facts)


class Norm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.nn.functional.gelu(self.norm(x)))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(8, 8, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)[0]


class Upsampled(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(x, scale_factor=2, mode="bilinear").relu()


class Chosen(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.topk(x.flatten(1), 5)[0]


def net(name):
    return lambda: getattr(torchvision.models, name)(weights=None)


IMAGE = {"input": Input(["batch", 3, 32, 32])}
TEN = {
    "tiny": (TinyConv, "export", IMAGE, BATCH),
    "two outputs": (TwoOutputs, "trace", IMAGE, BATCH),
    "attention": (Attention, "trace", TOKENS, BATCH_SEQ),
    "branch": (GraphBranch, "export", {"input": Input([2, 4], fill="normal")}, {}),
    "norm": (Norm, "export", TOKENS, BATCH_SEQ),
    "recurrent": (Recurrent, "trace", {"input": Input(["batch", 6, 8])}, BATCH),
    "upsampled": (Upsampled, "export", IMAGE, BATCH),
    "chosen": (Chosen, "export", IMAGE, BATCH),
    "resnet18": (net("resnet18"), "export", IMAGE, BATCH),
    "mobilenet_v3_small": (net("mobilenet_v3_small"), "trace", IMAGE, BATCH),
}


QUICK = ("two outputs", "attention", "branch", "chosen")


@pytest.mark.parametrize("model", [m if m in QUICK else pytest.param(m, marks=pytest.mark.slow) for m in TEN])
def test_ten_models_are_ready_and_each_of_their_operators_is_counted(model, tmp_path):
    torch.manual_seed(0)
    make, how, inputs, dims = TEN[model]
    graph = export(how, make(), tmp_path, inputs=inputs, dims=dims)
    assessed = assess(graph, tmp_path / "assess")
    assert assessed.notes["says"].startswith("TensorRT 10 and 11: all ")
    assert assessed.file == graph.file
    counted = assessed.notes["readiness"]["operators"]
    assert sum(counted.values()) == len([*onnx_file.nodes(onnx.load(graph.file))])
    assert assessed.notes["claims"]["readiness"]["releases"] == ["10", "11"]


CANNOT = {
    "an operator that no release has": (
        [("Unique", ["x"], ["u"]), ("Relu", ["u"], ["y"])],
        {},
        "Unique 'u': the parser of TensorRT 10 and 11 does not have it",
    ),
    "an operator that one release has": (
        [("Swish", ["x"], ["y"])],
        {"opset": 24},
        "Swish 'y': the parser of TensorRT 10 does not have it",
    ),
    "an operator of another domain": (
        [("com.acme::Fused", ["x"], ["y"])],
        {"com.acme": 1},
        "com.acme::Fused 'y': is not an ONNX operator, and no plugin for it is named",
    ),
    "an opset that it does not know": (
        [("Relu", ["x"], ["y"])],
        {"opset": 25},
        "opset 25 is none of TensorRT 10's, which are 9 to 24",
    ),
    "a zero point": (
        [("QuantizeLinear", ["x", "s", "z"], ["q"]), ("DequantizeLinear", ["q", "s", "z"], ["y"])],
        {"weights": {"s": np.float32(0.1), "z": np.int8(3)}},
        "QuantizeLinear 'q': its zero point is not 0",
    ),
    "unsigned numbers": (
        [("QuantizeLinear", ["x", "s", "z"], ["q"]), ("DequantizeLinear", ["q", "s", "z"], ["y"])],
        {"weights": {"s": np.float32(0.1), "z": np.uint8(0)}},
        "QuantizeLinear 'q': it quantises to uint8",
    ),
    "a mode of resizing": (
        [("Resize", ["x", "", "scales"], ["y"], {"mode": "cubic"})],
        {"weights": {"scales": np.float32([1, 2])}},
        "Resize 'y': its mode is cubic; TensorRT has nearest and linear",
    ),
    "a policy of resizing": (
        [("Resize", ["x", "", "", "sizes"], ["y"], {"keep_aspect_ratio_policy": "not_larger"})],
        {"weights": {"sizes": np.int64([4, 8])}},
        "Resize 'y': its keep_aspect_ratio_policy is not_larger; TensorRT has stretch",
    ),
    "attention of heads that are not apart": (
        [("Attention", ["x", "x", "x"], ["y"], {"q_num_heads": 1, "kv_num_heads": 1})],
        {"opset": 23, "ports": ((TensorProto.FLOAT, ["batch", 4, 8]),) * 2},
        "Attention 'y': an input has 3 dimensions; TensorRT takes only inputs of 4",
    ),
    "gates of an LSTM that are one": (
        [("LSTM", ["x", "w", "r"], ["y"], {"hidden_size": 8, "input_forget": 1})],
        {
            "ports": ((TensorProto.FLOAT, ["batch", 4, 8]), (TensorProto.FLOAT, ["batch", 1, 4, 8])),
            "weights": dict.fromkeys("wr", np.zeros((1, 32, 8), "float32")),
        },
        "LSTM 'y': input_forget is 1; TensorRT takes 0",
    ),
    "too many of the largest": (
        [("TopK", ["x", "k"], ["y", "at"])],
        {"weights": {"k": np.int64([4000])}},
        "TopK 'y': K is 4000; TensorRT takes 3839 at most",
    ),
    "a double at a port": (
        [("Cast", ["x"], ["y"], {"to": TensorProto.DOUBLE})],
        {"ports": ((TensorProto.FLOAT, ["batch", 8]), (TensorProto.DOUBLE, ["batch", 8]))},
        "'y' is float64, which no engine takes or gives",
    ),
}


@pytest.mark.parametrize("what", CANNOT)
def test_what_cannot_be_built_is_told_by_node_operator_and_reason(what, tmp_path):
    nodes, how, says = CANNOT[what]
    with pytest.raises(StageError) as caught:
        assess(graph_of(nodes, tmp_path / "graph", **how), tmp_path / "assess")
    (problem,) = caught.value.problems
    assert f"\n    {says}" in problem.what
    assert "onnx-tensorrt" in problem.allowed


SQUARES = (TensorProto.FLOAT, ["batch", 3, 8, 8])
INDICES = {"at": np.int64([[0, 0]]), "new": np.float32([1])}
RESTRICTED = {
    "axes": ("ReduceSum", ["x", "s"], ["y"], {}, "its axes is computed"),
    "GridSample": ("GridSample", ["volume", "x"], ["y"], {}, "samples an input of 5 dimensions"),
    "LayerNormalization": ("LayerNormalization", ["x", "scale"], ["y", "m"], {}, "more than its first output is used"),
    "pools": ("MaxPool", ["x"], ["y"], {"kernel_shape": [2]}, "pools over 1 dimensions"),
    "dilations": ("MaxPool", ["x"], ["y"], {"kernel_shape": [2, 2], "dilations": [2, 2]}, "has dilations [2, 2]"),
    "Indices": ("MaxPool", ["x"], ["y", "i"], {"kernel_shape": [2, 2]}, "its output Indices is used"),
    "antialias": ("Resize", ["x", "", "scales"], ["y"], {"mode": "linear", "antialias": 1}, "antialias is on"),
    "coordinates": (
        "Resize",
        ["x", "", "scales"],
        ["y"],
        {"coordinate_transformation_mode": "half_pixel_symmetric"},
        "its coordinate_transformation_mode is half_pixel_symmetric",
    ),
    "rounding": ("Resize", ["x", "", "scales"], ["y"], {"nearest_mode": "simple"}, "its nearest_mode is simple"),
    "sorted": ("TopK", ["x", "k"], ["y", "i"], {"sorted": 0}, "sorted is 0"),
    "reduction": ("ScatterND", ["x", "at", "new"], ["y"], {"reduction": "add"}, "reduction is add"),
}


@pytest.mark.parametrize("what", RESTRICTED)
def test_a_restriction_of_an_operator_is_told(what, tmp_path):
    kind, inputs, results, attributes, says = RESTRICTED[what]
    weights = {"scale": np.ones(8, "float32"), "scales": np.ones(4, "float32"), "k": np.int64([2]), **INDICES}
    weights["volume"] = np.zeros((1, 1, 2, 2, 2), "float32")
    nodes = [("Shape", ["x"], ["s"]), (kind, inputs, results, attributes)]
    graph = graph_of(nodes, tmp_path / "graph", ports=(SQUARES, SQUARES), weights=weights)
    with pytest.raises(StageError) as caught:
        assess(graph, tmp_path / "assess")
    assert f"\n    {kind} 'y': {says}" in caught.value.problems[0].what


def test_a_type_that_the_table_does_not_list_is_remarked(tmp_path):
    ports = ((TensorProto.INT64, ["batch", 8]), (TensorProto.INT64, ["batch", 8]))
    graph = graph_of([("CumSum", ["x", "axis"], ["y"])], tmp_path / "graph", ports=ports, weights={"axis": np.int64(1)})
    remarks = assess(graph, tmp_path / "assess").notes["readiness"]["remarks"]
    assert "CumSum 'y': takes int64, which the table of TensorRT 10 and 11 does not list" in remarks


def test_a_function_of_the_graphs_own_is_judged_by_what_it_is_made_of(tmp_path):
    graph = graph_of([("ours::Twice", ["x"], ["y"])], tmp_path / "graph", ours=1)
    model, opset = onnx.load(graph.file), helper.make_opsetid("", 18)
    for inside, passes in (("Relu", True), ("Unique", False)):
        body = [helper.make_node(inside, ["a"], ["b"], name="inner")]
        del model.functions[:]
        model.functions.append(helper.make_function("ours", "Twice", ["a"], ["b"], body, [opset]))
        onnx.save(model, graph.file)
        if passes:
            assess(graph, tmp_path / inside)
        else:
            with pytest.raises(StageError, match="Unique 'inner'"):
                assess(graph, tmp_path / inside)


def test_a_release_by_itself_is_held_to_its_own_table(tmp_path):
    graph = graph_of([("Swish", ["x"], ["y"])], tmp_path / "graph", opset=24)
    assess(graph, tmp_path / "assess", releases=["11"])


def test_a_plugin_that_is_named_is_remarked_and_no_reason_to_stop(tmp_path):
    graph = graph_of([("com.acme::Fused", ["x"], ["y"])], tmp_path / "graph", **{"com.acme": 1})
    assessed = assess(graph, tmp_path / "assess", plugins=["Fused"])
    assert (
        assessed.notes["caution"] == "com.acme::Fused 'y': needs its plugin where the engine is built and where it runs"
    )


def test_doubles_integers_at_ports_and_decomposed_norms_are_remarked(tmp_path):
    nodes = [
        ("Cast", ["x"], ["d"], {"to": TensorProto.DOUBLE}),
        ("Cast", ["d"], ["f"], {"to": TensorProto.FLOAT}),
        ("Pow", ["f", "two"], ["p"]),
        ("ReduceMean", ["p"], ["m"]),
        ("Sqrt", ["m"], ["y"]),
    ]
    ports = ((TensorProto.INT64, ["batch", 8]), (TensorProto.FLOAT, [1, 1]))
    graph = graph_of(nodes, tmp_path / "graph", opset=13, ports=ports, weights={"two": np.float32(2)})
    remarks = assess(graph, tmp_path / "assess").notes["readiness"]["remarks"]
    for part in (
        "Cast 'd': float64 is computed in float32, and larger values",
        "'x' is int64",
        "opset 13 has no LayerNormalization",
    ):
        assert any(part in line for line in remarks), remarks


@pytest.mark.parametrize(
    ("profile", "says"),
    [
        ({"batch": [1, 4, 32]}, "profiles has batch: [1, 4, 32], and the model is checked at 1 to 16"),
        (
            {"bach": [1, 4, 16]},
            "profiles names 'bach', which is no dynamic dimension of the model, did you mean 'batch'",
        ),
    ],
)
def test_a_profile_that_the_model_was_not_checked_at_is_refused(profile, says, tmp_path):
    graph = graph_of([("Relu", ["x"], ["y"])], tmp_path / "graph")
    with pytest.raises(StageError) as caught:
        assess(graph, tmp_path / "assess", profiles=[profile])
    assert caught.value.problems[0].what.startswith(says)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"releases": ["9"]}, "releases is ['9']"),
        ({"releases": []}, "releases is []"),
        ({"profiles": []}, "profiles is empty"),
        ({"profiles": [{"batch": [4, 1, 16]}]}, "profiles has batch: [4, 1, 16]"),
        ({"profiles": [{"batch": [1, 4]}]}, "profiles has batch: [1, 4]"),
    ],
)
def test_wrong_settings_are_told_before_any_work(settings, says):
    stage = AssessTensorrt(**{"releases": ["10"], "plugins": [], "profiles": None, **settings})
    assert [p.what for p in stage.problems()] == [says]


def test_the_table_has_every_operator_that_onnx_had_when_it_was_published():
    table = json.loads(readiness.TABLE.read_text())
    operators = {*table["operators"], *table["unsupported"]}
    last = readiness.table("10").opsets[1]
    names = {s.name for s in onnx.defs.get_all_schemas_with_history() if s.domain == "" and s.since_version <= last}
    assert names - operators == {"Swish"}
    assert "Swish" in table["gained"]["11"]
    assert not {*table["operators"]} & {*table["unsupported"]}
    assert all("opset" in source or "http" in source for source in table["source"].values())
