"""What TensorRT's ONNX parser will make of a graph, as far as its published table and rules say, without TensorRT.

Source: operators.json beside this file names it for each release.
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
LAYER_NORM = 17  # the opset that has LayerNormalization; before, it is Pow and ReduceMean, which outgrow float16


@dataclass(frozen=True)
class Finding:
    """One thing about a graph.

    Args:
        node: Its name; empty for what no one node has.
        operator: Its type, with the domain where that is not ONNX's own.
        reason: A sentence.
        fatal: Whether no engine can be built; otherwise it is to be known.
    """

    node: str
    operator: str
    reason: str
    fatal: bool

    def __str__(self) -> str:
        return f"{self.operator} '{self.node}': {self.reason}" if self.node else self.reason


@dataclass(frozen=True)
class Table:
    """What a release's parser has.

    Args:
        release: 10 or 11.
        opsets: The first and the last.
        operators: The types that each takes, by numpy's names.
        source: Where that is published.
    """

    release: str
    opsets: tuple[int, int]
    operators: Mapping[str, Sequence[str]]
    source: str


@dataclass(frozen=True)
class Values:
    """What is known of a graph's values: constants by name, and types by name as numpy calls them."""

    constants: Mapping[str, onnx.TensorProto]
    types: Mapping[str, str]
    ranks: Mapping[str, int]

    def constant(self, node: onnx.NodeProto, port: int) -> Any:
        """The array at an input; None where it is not there or not a constant."""
        from onnx import numpy_helper

        held = self.constants.get(node.input[port]) if len(node.input) > port else None
        return None if held is None or onnx_file.is_external(held) else numpy_helper.to_array(held)

    def is_open(self, node: onnx.NodeProto, port: int) -> bool:
        """Whether an input is there and not a constant."""
        return len(node.input) > port and bool(node.input[port]) and node.input[port] not in self.constants


def table(release: str) -> Table:
    """The table of a release."""
    told = _read()
    operators = {**told["operators"], **told["gained"].get(release, {})}
    first, last = told["opsets"][release]
    return Table(release, (first, last), {n: t.split() for n, t in operators.items()}, told["source"][release])


@functools.cache
def _read() -> Mapping[str, Any]:
    return dict(json.loads(TABLE.read_text(encoding="utf-8")))


def findings(model: onnx.ModelProto, releases: Sequence[str], plugins: Sequence[str]) -> list[Finding]:
    """What there is to say of a graph, in its order, what is fatal first.

    Args:
        model: The graph.
        releases: Of TensorRT; what one of them lacks is said with its number.
        plugins: Operators that the host where the engine is built has plugins for.
    """
    values = _values(model)
    found = [f for release in releases for f in _of_opset(model, table(release))]
    tables = [table(release) for release in releases]
    functions = {(f.domain, f.name) for f in model.functions}
    for node in onnx_file.nodes(model):
        if (node.domain, node.op_type) not in functions:
            found += _of_node(node, values, tables, plugins)
    found += _of_types(model, values)
    return sorted(dict.fromkeys(found), key=lambda f: not f.fatal)


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
        yield Finding(name, operator, "is no operator of ONNX's, and no plugin for it is named", fatal=True)
        return
    lacking = [t.release for t in tables if node.op_type not in t.operators]
    if lacking:
        yield Finding(name, operator, f"the parser of TensorRT {' and '.join(lacking)} does not have it", fatal=True)
        return
    given = values.types.get(node.input[0] if node.input else node.output[0], "")
    untold = [t.release for t in tables if given and given not in (*t.operators[node.op_type], "float64")]
    if untold:
        reason = f"takes {given}, which the table of TensorRT {' and '.join(untold)} does not list"
        yield Finding(name, operator, reason, fatal=False)
    if rule := RULES.get(node.op_type):
        told = {a.name: a for a in node.attribute}
        for reason in rule(node, told, values):
            yield Finding(name, operator, reason, fatal=True)


def _of_types(model: onnx.ModelProto, values: Values) -> Iterator[Finding]:
    """What TensorRT makes of types that it has no or few kernels for."""
    doubles = [n for n in onnx_file.nodes(model) if any(values.types.get(o) == "float64" for o in n.output)]
    if doubles:
        more = f", here and in {len(doubles) - 1} more" if len(doubles) > 1 else ""
        reason = f"float64 is computed in float32{more}, and values beyond it are cut"
        yield Finding(doubles[0].name or doubles[0].output[0], doubles[0].op_type, reason, fatal=False)
    for port in (*onnx_file.inputs(model), *model.graph.output):
        dtype = values.types.get(port.name)
        if dtype == "int64":
            yield Finding("", "", f"'{port.name}' is int64: the engine takes and gives 8 bytes a number", fatal=False)
        if dtype in ("float64", "int16", "uint16", "uint32", "uint64", "string"):
            yield Finding("", "", f"'{port.name}' is {dtype}, which no engine takes or gives", fatal=True)


def _values(model: onnx.ModelProto) -> Values:
    import onnx

    with contextlib.suppress(Exception):  # an operator that onnx does not know; what is known is in the graph
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


def _quantised(node: onnx.NodeProto, told: Mapping[str, Any], values: Values) -> Iterator[str]:
    zero = values.constant(node, 2)
    if zero is not None and zero.any():
        yield "its zero point is not 0: quantise with symmetric ranges (stages.quantize.symmetric=true)"
    elif zero is not None and zero.dtype.name.startswith("uint"):
        yield f"it quantises to {zero.dtype.name}; TensorRT knows signed numbers alone (stages.quantize.symmetric=true)"


def _pooling(node: onnx.NodeProto, told: Mapping[str, Any], values: Values) -> Iterator[str]:
    if "kernel_shape" in told and len(told["kernel_shape"].ints) not in (2, 3) and node.op_type != "LpPool":
        yield f"pools over {len(told['kernel_shape'].ints)} dimensions; TensorRT does over 2 or 3"
    if "dilations" in told and {*told["dilations"].ints} - {1}:
        yield f"has dilations {list(told['dilations'].ints)}; TensorRT has none"
    if len(node.output) > 1 and node.output[1]:
        yield "its output Indices is used, which TensorRT does not give"


def _resize(node: onnx.NodeProto, told: Mapping[str, Any], values: Values) -> Iterator[str]:
    mode = told["mode"].s.decode() if "mode" in told else "nearest"
    if mode not in ("nearest", "linear"):
        yield f"its mode is {mode}; TensorRT has nearest and linear"
    how = told["coordinate_transformation_mode"].s.decode() if "coordinate_transformation_mode" in told else ""
    if how and how not in MODES:
        yield f"its coordinate_transformation_mode is {how}; TensorRT has {', '.join(sorted(MODES))}"
    nearest = told["nearest_mode"].s.decode() if "nearest_mode" in told else ""
    if mode == "nearest" and nearest and nearest not in NEAREST:
        yield f"its nearest_mode is {nearest}; TensorRT has {', '.join(sorted(NEAREST))}"
    policy = told["keep_aspect_ratio_policy"].s.decode() if "keep_aspect_ratio_policy" in told else "stretch"
    if policy != "stretch":
        yield f"its keep_aspect_ratio_policy is {policy}; TensorRT has stretch"
    if "antialias" in told and told["antialias"].i:
        yield "antialias is on, which TensorRT does not have"


def _sorted(node: onnx.NodeProto, told: Mapping[str, Any], values: Values) -> Iterator[str]:
    if "sorted" in told and not told["sorted"].i:
        yield "sorted is 0; TensorRT gives sorted results only"
    count = values.constant(node, 1)
    if count is not None and int(count.reshape(-1)[0]) > MOST_OF_TOPK:
        yield f"K is {int(count.reshape(-1)[0])}; TensorRT takes {MOST_OF_TOPK} at most"


def _one_output(node: onnx.NodeProto, told: Mapping[str, Any], values: Values) -> Iterator[str]:
    if any(node.output[1:]):
        yield "more than its first output is used, and TensorRT gives that alone"


def _attention(node: onnx.NodeProto, told: Mapping[str, Any], values: Values) -> Iterator[str]:
    ranks = {values.ranks.get(name, 4) for name in node.input[:4] if name}
    if ranks - {4}:
        yield f"an input has {min(ranks - {4})} dimensions; TensorRT takes those of 4 alone"
    if any(node.input[4:]):
        yield "it is given past keys and values or their lengths, which TensorRT does not take"
    if "softcap" in told and told["softcap"].f:
        yield f"softcap is {told['softcap'].f:g}; TensorRT has none"
    yield from _one_output(node, told, values)


def _constant(port: int, name: str) -> Rule:
    def held(node: onnx.NodeProto, told: Mapping[str, Any], values: Values) -> Iterator[str]:
        if values.is_open(node, port):
            yield f"its {name} is computed; TensorRT takes a constant there"

    return held


def _sampled(node: onnx.NodeProto, told: Mapping[str, Any], values: Values) -> Iterator[str]:
    if values.ranks.get(node.input[0], 4) != 4:
        yield f"samples an input of {values.ranks[node.input[0]]} dimensions; TensorRT does of 4"


def _attribute(name: str, allowed: Sequence[Any], why: str) -> Rule:
    def held(node: onnx.NodeProto, told: Mapping[str, Any], values: Values) -> Iterator[str]:
        if name in told and (told[name].s.decode() or told[name].i) not in allowed:
            yield f"{name} is {told[name].s.decode() or told[name].i}; {why}"

    return held


def _lstm(node: onnx.NodeProto, told: Mapping[str, Any], values: Values) -> Iterator[str]:
    for name in ("layout", "input_forget"):
        yield from _attribute(name, [0], "TensorRT takes 0")(node, told, values)


# By operator, what the table's column of restrictions says and a graph shows.
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
