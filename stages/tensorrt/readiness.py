"""Predicts what TensorRT's ONNX parser accepts, from its published table and rules, without TensorRT.

Source: operators.json beside this file names the source for each release.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import listed
from pipeline.stage import SomeOf
from stages.onnx import file as onnx_file

if TYPE_CHECKING:
    import onnx

TABLE = Path(__file__).with_name("operators.json")
RELEASES = ("10", "11")
SOME_RELEASES = SomeOf(RELEASES, f"one or more of {listed(RELEASES)}", least=1)
STANDARD = ("", "ai.onnx")
MOST_OF_TOPK = 3839
MODES = {"half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners"}
NEAREST = {"floor", "ceil", "round_prefer_floor", "round_prefer_ceil"}
LAYER_NORM = 17  # the first opset with LayerNormalization; earlier it is Pow and ReduceMean, which overflow float16


@dataclass(frozen=True)
class Finding:
    """One finding about a graph.

    Args:
        node: The name of the node; empty where the finding is about no single node.
        operator: The node's type, with the domain where that is not ONNX's own.
        reason: A sentence.
        fatal: Whether no engine can be built; otherwise it is a remark.
    """

    node: str
    operator: str
    reason: str
    fatal: bool

    def __str__(self) -> str:
        return f"{self.operator} '{self.node}': {self.reason}" if self.node else self.reason


@dataclass(frozen=True)
class Table:
    """What the parser of a release supports.

    Args:
        release: 10 or 11.
        opsets: The first and the last opset.
        operators: Operator to the types that it accepts, by numpy's names.
        source: Where the table is published.
    """

    release: str
    opsets: tuple[int, int]
    operators: Mapping[str, Sequence[str]]
    source: str


@dataclass(frozen=True)
class Values:
    """The known facts about a graph's values by name: constants, types (numpy's names) and ranks."""

    constants: Mapping[str, onnx.TensorProto]
    types: Mapping[str, str]
    ranks: Mapping[str, int]

    def constant(self, node: onnx.NodeProto, port: int) -> Any:
        """The array at an input; None where the input is missing or not a constant."""
        from onnx import numpy_helper

        tensor = self.constants.get(node.input[port]) if len(node.input) > port else None
        return None if tensor is None or onnx_file.is_external(tensor) else numpy_helper.to_array(tensor)

    def is_open(self, node: onnx.NodeProto, port: int) -> bool:
        """Whether an input exists and is not a constant."""
        return len(node.input) > port and bool(node.input[port]) and node.input[port] not in self.constants


def table(release: str) -> Table:
    """The table of a release."""
    document = _read()
    operators = {**document["operators"], **document["gained"].get(release, {})}
    first, last = document["opsets"][release]
    return Table(release, (first, last), {n: t.split() for n, t in operators.items()}, document["source"][release])


@functools.cache
def _read() -> Mapping[str, Any]:
    return dict(json.loads(TABLE.read_text(encoding="utf-8")))


def findings(model: onnx.ModelProto, releases: Sequence[str], plugins: Sequence[str]) -> list[Finding]:
    """The findings about a graph, in its order, fatal ones first.

    Args:
        model: The graph.
        releases: Releases of TensorRT; a problem with one of them names it.
        plugins: Operators for which the building host has plugins.
    """
    values = _values(model)
    results = [f for release in releases for f in _of_opset(model, table(release))]
    tables = [table(release) for release in releases]
    functions = {(f.domain, f.name) for f in model.functions}
    for node in onnx_file.nodes(model):
        if (node.domain, node.op_type) not in functions:
            results += _of_node(node, values, tables, plugins)
    results += _of_types(model, values)
    return sorted(dict.fromkeys(results), key=lambda f: not f.fatal)


def _of_opset(model: onnx.ModelProto, table: Table) -> Iterator[Finding]:
    opset, (first, last) = onnx_file.opset(model), table.opsets
    if not first <= opset <= last:
        reason = f"opset {opset} is none of TensorRT {table.release}'s, which are {first} to {last}"
        yield Finding("", "", reason, fatal=True)
    types = [n.op_type for n in model.graph.node]
    if opset < LAYER_NORM and {"Pow", "ReduceMean", "Sqrt"} <= set(types):
        reason = f"opset {opset} has no LayerNormalization: its parts overflow in float16. opset={LAYER_NORM} has it"
        yield Finding("", "", reason, fatal=False)


def _of_node(
    node: onnx.NodeProto, values: Values, tables: Sequence[Table], plugins: Sequence[str]
) -> Iterator[Finding]:
    name, operator = node.name or node.output[0], node.op_type
    if node.domain not in STANDARD:
        operator = f"{node.domain}::{node.op_type}"
    if node.op_type in plugins:
        yield Finding(name, operator, "needs its plugin where the engine is built and where it runs", fatal=False)
        return
    if node.domain not in STANDARD:
        yield Finding(name, operator, "is not an ONNX operator, and no plugin for it is named", fatal=True)
        return
    lacking = [t.release for t in tables if node.op_type not in t.operators]
    if lacking:
        yield Finding(name, operator, f"the parser of TensorRT {' and '.join(lacking)} does not have it", fatal=True)
        return
    dtype = values.types.get(node.input[0] if node.input else node.output[0], "")
    unlisted = [t.release for t in tables if dtype and dtype not in (*t.operators[node.op_type], "float64")]
    if unlisted:
        reason = f"takes {dtype}, which the table of TensorRT {' and '.join(unlisted)} does not list"
        yield Finding(name, operator, reason, fatal=False)
    if rule := RULES.get(node.op_type):
        attributes = {a.name: a for a in node.attribute}
        for reason in rule(node, attributes, values):
            yield Finding(name, operator, reason, fatal=True)


def _of_types(model: onnx.ModelProto, values: Values) -> Iterator[Finding]:
    """Findings about types for which TensorRT has no or few kernels."""
    doubles = [n for n in onnx_file.nodes(model) if any(values.types.get(o) == "float64" for o in n.output)]
    if doubles:
        more = f", here and in {len(doubles) - 1} more" if len(doubles) > 1 else ""
        reason = f"float64 is computed in float32{more}, and larger values are clipped"
        yield Finding(doubles[0].name or doubles[0].output[0], doubles[0].op_type, reason, fatal=False)
    for port in (*onnx_file.inputs(model), *model.graph.output):
        dtype = values.types.get(port.name)
        if dtype == "int64":
            yield Finding("", "", f"'{port.name}' is int64: the engine takes and gives 8 bytes a number", fatal=False)
        if dtype in ("float64", "int16", "uint16", "uint32", "uint64", "string"):
            yield Finding("", "", f"'{port.name}' is {dtype}, which no engine takes or gives", fatal=True)


def _values(model: onnx.ModelProto) -> Values:
    import onnx

    with contextlib.suppress(Exception):  # an operator unknown to onnx; the graph's own types remain
        model = onnx.shape_inference.infer_shapes(model)
    constants = {i.name: i for g in onnx_file.graphs(model) for i in g.initializer}
    for node in onnx_file.nodes(model):
        if node.op_type == "Constant":
            constants.update((node.output[0], a.t) for a in node.attribute if a.name == "value")
    types, ranks = (
        {n: _dtype(t.data_type) for n, t in constants.items()},
        {n: len(t.dims) for n, t in constants.items()},
    )
    for graph in onnx_file.graphs(model):
        for value in (*graph.value_info, *graph.input, *graph.output):
            types[value.name] = _dtype(value.type.tensor_type.elem_type)
            if value.type.tensor_type.HasField("shape"):
                ranks[value.name] = len(value.type.tensor_type.shape.dim)
    return Values(constants, types, ranks)


def _dtype(number: int) -> str:
    import onnx

    name = str(onnx.TensorProto.DataType.Name(number)).lower()
    return {"float": "float32", "double": "float64", "undefined": ""}.get(name, name)


Rule = Callable[["onnx.NodeProto", Mapping[str, Any], Values], Iterator[str]]


def _quantised(node: onnx.NodeProto, attributes: Mapping[str, Any], values: Values) -> Iterator[str]:
    zero = values.constant(node, 2)
    if zero is not None and zero.any():
        yield "its zero point is not 0: quantise with symmetric ranges (stages.quantize.symmetric=true)"
    elif zero is not None and zero.dtype.name.startswith("uint"):
        yield f"it quantises to {zero.dtype.name}; TensorRT has only signed types (stages.quantize.symmetric=true)"


def _pooling(node: onnx.NodeProto, attributes: Mapping[str, Any], values: Values) -> Iterator[str]:
    if "kernel_shape" in attributes and len(attributes["kernel_shape"].ints) not in (2, 3) and node.op_type != "LpPool":
        yield f"pools over {len(attributes['kernel_shape'].ints)} dimensions; TensorRT does over 2 or 3"
    if "dilations" in attributes and {*attributes["dilations"].ints} - {1}:
        yield f"has dilations {list(attributes['dilations'].ints)}; TensorRT has none"
    if len(node.output) > 1 and node.output[1]:
        yield "its output Indices is used, which TensorRT does not have"


def _resize(node: onnx.NodeProto, attributes: Mapping[str, Any], values: Values) -> Iterator[str]:
    mode = attributes["mode"].s.decode() if "mode" in attributes else "nearest"
    if mode not in ("nearest", "linear"):
        yield f"its mode is {mode}; TensorRT has nearest and linear"
    how = (
        attributes["coordinate_transformation_mode"].s.decode()
        if "coordinate_transformation_mode" in attributes
        else ""
    )
    if how and how not in MODES:
        yield f"its coordinate_transformation_mode is {how}; TensorRT has {', '.join(sorted(MODES))}"
    nearest = attributes["nearest_mode"].s.decode() if "nearest_mode" in attributes else ""
    if mode == "nearest" and nearest and nearest not in NEAREST:
        yield f"its nearest_mode is {nearest}; TensorRT has {', '.join(sorted(NEAREST))}"
    policy = (
        attributes["keep_aspect_ratio_policy"].s.decode() if "keep_aspect_ratio_policy" in attributes else "stretch"
    )
    if policy != "stretch":
        yield f"its keep_aspect_ratio_policy is {policy}; TensorRT has stretch"
    if "antialias" in attributes and attributes["antialias"].i:
        yield "antialias is on, which TensorRT does not have"


def _sorted(node: onnx.NodeProto, attributes: Mapping[str, Any], values: Values) -> Iterator[str]:
    if "sorted" in attributes and not attributes["sorted"].i:
        yield "sorted is 0; TensorRT returns only sorted results"
    count = values.constant(node, 1)
    if count is not None and int(count.reshape(-1)[0]) > MOST_OF_TOPK:
        yield f"K is {int(count.reshape(-1)[0])}; TensorRT takes {MOST_OF_TOPK} at most"


def _one_output(node: onnx.NodeProto, attributes: Mapping[str, Any], values: Values) -> Iterator[str]:
    if any(node.output[1:]):
        yield "more than its first output is used, and TensorRT has only that"


def _attention(node: onnx.NodeProto, attributes: Mapping[str, Any], values: Values) -> Iterator[str]:
    ranks = {values.ranks.get(name, 4) for name in node.input[:4] if name}
    if ranks - {4}:
        yield f"an input has {min(ranks - {4})} dimensions; TensorRT takes only inputs of 4"
    if any(node.input[4:]):
        yield "it has inputs for past keys and values or their lengths, which TensorRT does not take"
    if "softcap" in attributes and attributes["softcap"].f:
        yield f"softcap is {attributes['softcap'].f:g}; TensorRT has none"
    yield from _one_output(node, attributes, values)


def _constant(port: int, name: str) -> Rule:
    def check(node: onnx.NodeProto, attributes: Mapping[str, Any], values: Values) -> Iterator[str]:
        if values.is_open(node, port):
            yield f"its {name} is computed; TensorRT takes a constant there"

    return check


def _sampled(node: onnx.NodeProto, attributes: Mapping[str, Any], values: Values) -> Iterator[str]:
    if values.ranks.get(node.input[0], 4) != 4:
        yield f"samples an input of {values.ranks[node.input[0]]} dimensions; TensorRT does of 4"


def _attribute(name: str, allowed: Sequence[Any], why: str) -> Rule:
    def check(node: onnx.NodeProto, attributes: Mapping[str, Any], values: Values) -> Iterator[str]:
        if name in attributes and (attributes[name].s.decode() or attributes[name].i) not in allowed:
            yield f"{name} is {attributes[name].s.decode() or attributes[name].i}; {why}"

    return check


def _lstm(node: onnx.NodeProto, attributes: Mapping[str, Any], values: Values) -> Iterator[str]:
    for name in ("layout", "input_forget"):
        yield from _attribute(name, [0], "TensorRT takes 0")(node, attributes, values)


# By operator, those restrictions of the table that can be seen in a graph.
RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _quantised),
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool"), _pooling),
    **{f"Reduce{how}": _constant(1, "axes") for how in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min")},
    **{f"Reduce{how}": _constant(1, "axes") for how in ("Prod", "Sum", "SumSquare")},
    "Attention": _attention,
    "CumSum": _constant(1, "axis"),
    "OneHot": _constant(1, "depth"),
    "GridSample": _sampled,
    "LayerNormalization": _one_output,
    "LSTM": _lstm,
    "Resize": _resize,
    "ScatterND": _attribute("reduction", ["none"], "TensorRT has none"),
    "TopK": _sorted,
}
