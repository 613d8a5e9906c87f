"""formats/ignored.py: ignored operations keep their precision in every stage that lowers it."""

from __future__ import annotations

import pytest
from conversions import compress_weights, compressed, quantized
from harness import run_stage

from pipeline.errors import ConfigError
from stages.formats import graphs
from stages.formats import ignored as ignored_operations
from stages.formats.graphs import Node, NodeGraph
from stages.formats.ignored import Ignored
from stages.onnx.cast_fp16 import CastFp16
from stages.onnx.format import ONNX
from stages.openvino.format import OPENVINO
from stages.quantization.quantize import Quantize

# By format: the name of the first convolution, a pattern for both, and the type of the products.
NAMES = {ONNX: "/model/features/0/Conv", OPENVINO: "aten::_convolution/Convolution"}
PATTERNS = {ONNX: r"/model/features/\d/Conv", OPENVINO: r"aten::_convolution/Convolution.*"}
TYPES = {ONNX: "Gemm", OPENVINO: "MatMul"}

LOWER = {
    "quantize": lambda digits, kind, ignored, folder: quantized(
        digits.graph(kind), digits.samples, folder, ignored=ignored
    ),
    "compress_weights": lambda digits, kind, ignored, folder: compressed(digits.graph(kind), folder, ignored=ignored),
    "cast_fp16": lambda digits, kind, ignored, folder: run_stage(CastFp16(ignored, []), digits.graph(kind), folder),
}
CASES = [(lower, kind) for lower in LOWER for kind in NAMES if (lower, kind) != ("cast_fp16", OPENVINO)]

GRAPH = NodeGraph({
    "w": Node("Constant", (), "float32", 4),
    "first/MatMul": Node("MatMul", ("x", "w"), "float32"),
    "then": Node("Softmax", ("first/MatMul",), "float32"),
    "last/MatMul": Node("MatMul", ("then", "w"), "float32"),
})  # fmt: skip


def in_float32(built):
    """The operations with weights that compute in float32, with weights in float32."""
    weighted = [n for n, node in built.nodes.items() if node.type in graphs.WEIGHTED]
    everything = built.weights()
    return {
        n
        for n in weighted
        if built.computes_in(n) == "float32"
        and {t for t, count in everything.items() if built.weights([n]).get(t, 0) != count} == {"float32"}
    }


# By names and by types each time, but not of both formats: what quantises takes a second each time.
LONG = [("names", OPENVINO), ("patterns", ONNX), ("patterns", OPENVINO), ("types", ONNX)]


@pytest.mark.parametrize(
    ("by", "lower", "kind"),
    [
        pytest.param(by, *case, marks=pytest.mark.slow if case[0] == "quantize" and (by, case[1]) in LONG else [])
        for by in ("names", "patterns", "types")
        for case in CASES
    ],
)
def test_what_is_named_stays_in_float_and_nothing_else(digits, tmp_path, by, lower, kind):
    entry = {"names": NAMES, "patterns": PATTERNS, "types": TYPES}[by][kind]
    ignored = Ignored(**{"names": [], "patterns": [], "types": [], by: [entry]})
    lowered = LOWER[lower](digits, kind, ignored, tmp_path / "made")
    convolutions = [
        n for n, v in graphs.read(digits.graph(kind)).nodes.items() if "Conv" in v.type and v.type != "Convert"
    ]
    products = [n for n, v in graphs.read(digits.graph(kind)).nodes.items() if v.type == TYPES[kind]]
    assert (len(convolutions), len(products)) == (2, 2)
    in_float = {"names": convolutions[:1], "patterns": convolutions, "types": products}[by]
    assert in_float32(graphs.read(lowered)) == {*in_float}
    assert lowered.facts["ignored"] == vars(ignored)


@pytest.mark.parametrize(("lower", "kind"), CASES)
def test_what_matches_nothing_is_told_with_what_is_near(digits, tmp_path, lower, kind):
    name, types = NAMES[kind] + "s", [TYPES[kind] + "s"]
    with pytest.raises(ConfigError) as caught:
        LOWER[lower](digits, kind, Ignored([name], ["classifier"], types), tmp_path / "made")
    by_name, by_pattern, by_type = caught.value.problems
    assert by_name.what.startswith(f"ignored.names has {name}, did you mean '{NAMES[kind]}")
    assert by_pattern.what == "ignored.patterns has classifier, which no operation of this graph is"  # not in part
    assert by_type.what.startswith(f"ignored.types has {TYPES[kind]}s, did you mean '{TYPES[kind]}'?")
    assert NAMES[kind] in by_name.allowed
    assert TYPES[kind] in by_type.allowed.split(", ")


BAD = Ignored([], ["ok", "conv(", "*"], [])


@pytest.mark.parametrize(
    "stage",
    [Quantize(None, None, "ANY", True, False, BAD, [], None), compress_weights(ignored=BAD), CastFp16(BAD, [])],
    ids=lambda stage: type(stage).__name__,
)
def test_a_bad_regular_expression_is_told_before_any_work(stage):
    first, second = stage.problems()
    assert first.what.startswith("ignored.patterns has 'conv(', which is no regular expression: missing )")
    assert second.what.startswith("ignored.patterns has '*', which is no regular expression")


@pytest.mark.parametrize(
    ("ignored", "within"),
    [
        (Ignored([], [], []), []),
        (Ignored(["last/MatMul", "first/MatMul"], [], []), ["first/MatMul", "last/MatMul"]),  # in the graph's order
        (Ignored([], [".*/MatMul"], ["MatMul"]), ["first/MatMul", "last/MatMul"]),  # each once
        (Ignored(["then"], ["first/.*"], []), ["first/MatMul", "then"]),
        (Ignored([], [".*"], []), ["first/MatMul", "then", "last/MatMul"]),
    ],
)
def test_operations_are_found_once_in_the_order_of_the_graph(ignored, within):
    assert ignored.within(GRAPH) == within


@pytest.mark.parametrize("pattern", ["first", "MatMul", "first/MatMu"])
def test_a_pattern_matches_a_whole_name(pattern):
    with pytest.raises(ConfigError):
        Ignored([], [pattern], []).within(GRAPH)


@pytest.mark.parametrize("ignored", [Ignored(["w"], [], []), Ignored([], ["w"], []), Ignored([], [], ["Constant"])])
def test_a_constant_is_no_operation(ignored):
    with pytest.raises(ConfigError):
        ignored.within(GRAPH)


def test_what_a_later_graph_lacks_is_passed_over_when_it_is_only_looked_up():
    assert Ignored(["gone", "then"], ["gone.*"], ["Gone"]).present(GRAPH) == ["then"]


def test_an_artifact_that_was_not_lowered_has_no_list(digits, kind):
    assert ignored_operations.from_facts(digits.graph(kind)) is None
    assert ignored_operations.from_facts(digits.int8(kind)) == Ignored([], [], [])
