"""formats/graphs.py: the counts of graphs with known weights and operations."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from harness import backend
from onnx import TensorProto, helper, numpy_helper

from pipeline.artifact import Artifact
from stages.formats import graphs
from stages.onnx.format import ONNX
from stages.openvino.format import OPENVINO

F32, F16, I8, U8, I4 = (getattr(TensorProto, t) for t in ("FLOAT", "FLOAT16", "INT8", "UINT8", "INT4"))
SCALES = [("scale", F32, (3,)), ("zero", I8, (3,))]


def onnx_graph(folder, nodes, tensors, dtype=F32):
    """x [1, 4] to y, by nodes (type, inputs, output, attributes) and tensors (name, type, shape)."""
    operations = []
    for kind, inputs, result, *attributes in nodes:
        domain = "com.microsoft" if kind == "MatMulNBits" else ""
        operations.append(
            helper.make_node(kind, inputs, [result], name=f"the {result}", domain=domain, **dict(*attributes))
        )
    constants = [helper.make_tensor(n, t, shape, np.ones(np.prod(shape, dtype=int))) for n, t, shape in tensors]
    x, y = helper.make_tensor_value_info("x", dtype, [1, 4]), helper.make_tensor_value_info("y", dtype, [None, None])
    graph = helper.make_graph(operations, "graph", [x], [y], constants)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets), folder / "model.onnx")
    return Artifact(ONNX, folder)


def weighted(dtype, *parameters):
    """A weight of 12 numbers, and its dequantisation."""
    return ("DequantizeLinear", ["w", *(n for n, *_ in parameters)], "v", {"axis": 1}), [
        ("w", dtype, (4, 3)),
        *parameters,
    ]


QUANTISED = [("QuantizeLinear", ["x", "s", "z"], "q"), ("DequantizeLinear", ["q", "s", "z"], "d")]
RANGE = [("s", F32, ()), ("z", I8, ())]
PRODUCT = ("MatMul", ["x", "v"], "y")
BACK, WEIGHT = weighted(I8, *SCALES)
HALF = {"dtype": F16}

OF_ONNX = {
    "float32": ([("MatMul", ["x", "w"], "y")], [("w", F32, (4, 3))], {}, {"float32": 12}, {"float32": 1}),
    "float16": ([("MatMul", ["x", "w"], "y")], [("w", F16, (4, 3))], HALF, {"float16": 12}, {"float16": 1}),
    "weights in 8 bits": ([BACK, PRODUCT], WEIGHT, {}, {"int8": 12}, {"float32": 1}),
    "weights in 8 bits without a sign": (
        [("DequantizeLinear", ["w", "scale"], "v", {"axis": 1}), PRODUCT],
        [("w", U8, (4, 3)), SCALES[0]], {}, {"int8": 12}, {"float32": 1},
    ),
    "weights in blocks of 4 bits": (
        [("DequantizeLinear", ["w", "scale"], "v", {"axis": 0, "block_size": 2}), PRODUCT],
        [("w", I4, (4, 3)), ("scale", F32, (2, 3))], {}, {"int4": 12}, {"float32": 1},
    ),
    "4 bits that onnxruntime packs": (
        [("MatMulNBits", ["x", "w", "scale"], "y", {"K": 4, "N": 3, "bits": 4, "block_size": 4})],
        [("w", U8, (3, 1, 2)), ("scale", F32, (3,))], {}, {"int4": 12}, {"float32": 1},
    ),
    "whole numbers that are multiplied": (
        [QUANTISED[0], ("MatMulInteger", ["q", "w"], "m"), ("Cast", ["m"], "y", {"to": F32})],
        [("w", I8, (4, 3)), *RANGE], {}, {"int8": 12}, {"int8": 1},
    ),
    "both operands in 8 bits": (
        [*QUANTISED, BACK, ("MatMul", ["d", "v"], "y")], [*WEIGHT, *RANGE], {}, {"int8": 12}, {"int8": 1},
    ),
    "what is only moved stays in 8 bits": (
        [*QUANTISED, ("Reshape", ["d", "shape"], "r"), ("Concat", ["r", "r"], "c", {"axis": 0}), BACK,
         ("MatMul", ["c", "v"], "y")],
        [*WEIGHT, *RANGE, ("shape", TensorProto.INT64, (2,))], {}, {"int8": 12}, {"int8": 1},
    ),
    "beside what is not in 8 bits it does not": (
        [*QUANTISED, ("Concat", ["d", "x"], "c", {"axis": 0}), BACK, ("MatMul", ["c", "v"], "y")],
        [*WEIGHT, *RANGE], {}, {"int8": 12}, {"float32": 1},
    ),
    "computed with, it is not in 8 bits any more": (
        [*QUANTISED, ("Relu", ["d"], "r"), BACK, ("MatMul", ["r", "v"], "y")],
        [*WEIGHT, *RANGE], {}, {"int8": 12}, {"float32": 1},
    ),
    "a constant's node": (
        [("Constant", [], "v", {"value": numpy_helper.from_array(np.ones((4, 3), np.float32))}), PRODUCT],
        [], {}, {"float32": 12}, {"float32": 1},
    ),
    "two kinds": (
        [BACK, ("MatMul", ["x", "v"], "m"), ("Gemm", ["m", "g", "b"], "y")],
        [*WEIGHT, ("g", F32, (3, 5)), ("b", F32, (5,))], {}, {"float32": 20, "int8": 12}, {"float32": 2},
    ),
    "neither weights nor products": ([("Relu", ["x"], "y")], [], {}, {}, {}),
}  # fmt: skip


@pytest.mark.parametrize(("nodes", "tensors", "options", "weights", "operations"), OF_ONNX.values(), ids=OF_ONNX)
def test_an_onnx_graph_is_counted_as_it_was_made(tmp_path, nodes, tensors, options, weights, operations):
    artifact = onnx_graph(tmp_path, nodes, tensors, **options)
    onnx.checker.check_model(artifact.file)
    built = graphs.read(artifact)
    assert (built.weights(), built.operations()) == (weights, operations)
    assert built.results == {"the y"}


def test_types_that_onnx_cannot_infer_are_those_of_what_an_operation_is_given(tmp_path):
    nodes = [("Unheard", ["x"], "u"), ("MatMul", ["u", "w"], "y")]
    built = graphs.read(onnx_graph(tmp_path, nodes, [("w", F16, (4, 3))], F16))
    assert built.operations() == {"float16": 1}


def test_what_some_operations_are_given_can_be_left_out_of_the_count(tmp_path):
    nodes = [BACK, ("MatMul", ["x", "v"], "m"), ("Gemm", ["m", "g", "b"], "y")]
    built = graphs.read(onnx_graph(tmp_path, nodes, [*WEIGHT, ("g", F32, (3, 5)), ("b", F32, (5,))]))
    assert (built.weights(["the m"]), built.operations(["the m"])) == ({"float32": 20}, {"float32": 1})
    assert (built.weights(["the y"]), built.operations(["the y"])) == ({"int8": 12}, {"float32": 1})


LOWERED = [
    ([*QUANTISED, ("Relu", ["d"], "y")], RANGE, F32, {"the y"}),  # takes few values
    ([BACK, PRODUCT], WEIGHT, F32, {"the y"}),
    (
        [("MatMulNBits", ["x", "w", "scale"], "y", {"K": 4, "N": 3, "bits": 4, "block_size": 4})],
        [("w", U8, (3, 1, 2)), ("scale", F32, (3,))],
        F32,
        {"the y"},
    ),
    ([("Relu", ["x"], "y")], [], F16, {"the y"}),
    ([("Cast", ["x"], "c", {"to": F16}), ("Relu", ["c"], "r"), ("Cast", ["r"], "y", {"to": F32})], [], F32, {"the r"}),
    ([("MatMul", ["x", "w"], "m"), ("Relu", ["m"], "y")], [("w", F32, (4, 3))], F32, set()),
]


@pytest.mark.parametrize(("nodes", "tensors", "dtype", "lowered"), LOWERED)
def test_an_operation_is_lowered_that_meets_fewer_bits_and_what_converts_them_is_not(
    tmp_path, nodes, tensors, dtype, lowered
):
    built = graphs.read(onnx_graph(tmp_path, nodes, tensors, dtype))
    assert {name for name in built.nodes if built.is_lowered(name)} == lowered


@pytest.fixture
def op():
    backend("openvino")
    from openvino import opset16

    return opset16


def ir(folder, op, make, dtype=np.float32):
    """An IR of a function of x [1, 4]."""
    import openvino

    x = op.parameter([1, 4], dtype, name="x")
    openvino.save_model(openvino.Model([op.result(make(x), name="y")], [x]), folder / "model.xml", False)
    return graphs.read(Artifact(OPENVINO, folder))


def whole(op, dtype, zero=True):
    """Integers [4, 3] with their dequantisation, as NNCF writes it."""
    numbers = op.convert(op.constant(np.ones((4, 3)), dtype), np.float32)
    if zero:
        numbers = op.subtract(numbers, op.convert(op.constant(np.ones((1, 3)), dtype), np.float32))
    return op.multiply(numbers, op.constant(np.ones((1, 3), np.float32)))


def rounded(op, value):
    low, high = (op.constant(np.float32(n)) for n in (0, 1))
    return op.fake_quantize(value, low, high, low, high, 256)


def product(op, x, weight):
    return op.matmul(x, weight, False, False)


def with_type(name):
    import openvino

    return getattr(openvino.Type, name)


IRS = {
    "float32": (lambda op, x: product(op, x, op.constant(np.ones((4, 3), np.float32))), {"float32": 12}, "float32"),
    "float16": (
        lambda op, x: product(op, x, op.convert(op.constant(np.ones((4, 3), np.float16)), np.float32)),
        {"float16": 12}, "float32",
    ),
    "weights in 8 bits": (lambda op, x: product(op, x, whole(op, with_type("u8"))), {"int8": 12}, "float32"),
    "weights in 4 bits": (
        lambda op, x: product(op, x, whole(op, with_type("i4"), zero=False)), {"int4": 12}, "float32",
    ),
    "both operands in 8 bits": (
        lambda op, x: product(op, rounded(op, x), whole(op, with_type("i8"))), {"int8": 12}, "int8",
    ),
    "weights in float32 that are rounded while they are loaded": (
        lambda op, x: product(op, rounded(op, x), rounded(op, op.constant(np.ones((4, 3), np.float32)))),
        {"float32": 12}, "int8",
    ),
    "a product of two inputs": (lambda op, x: product(op, x, op.transpose(x, op.constant([1, 0]))), {}, "float32"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "weights", "computes_in"), IRS.values(), ids=IRS)
def test_an_ir_is_counted_as_it_was_made(tmp_path, op, make, weights, computes_in):
    built = ir(tmp_path, op, lambda x: make(op, x))
    assert (built.weights(), built.operations()) == (weights, {computes_in: 1})
    (result,) = built.results
    assert built.nodes[result].type == "MatMul"


def test_an_ir_s_operation_is_lowered_that_meets_fewer_bits(tmp_path, op):
    built = ir(tmp_path, op, lambda x: op.relu(product(op, op.relu(x), whole(op, with_type("u8")))))
    assert [built.nodes[n].type for n in built.nodes if built.is_lowered(n)] == ["MatMul"]


def test_what_is_within_an_if_is_counted(tmp_path):
    def branch(name):
        weight = helper.make_tensor(f"w{name}", TensorProto.FLOAT, [2, 2], [1.0] * 4)
        node = helper.make_node("MatMul", ["x", f"w{name}"], [f"y{name}"], f"product {name}")
        output = helper.make_tensor_value_info(f"y{name}", TensorProto.FLOAT, None)
        return helper.make_graph([node], name, [], [output], [weight])

    choice = helper.make_node(
        "If",
        ["c"],
        ["y"],
        "choice",
        then_branch=branch("a"),
        else_branch=branch("b"),
    )
    inputs = [
        helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 2]),
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    onnx.save(helper.make_model(helper.make_graph([choice], "g", inputs, [output])), tmp_path / "model.onnx")
    built = graphs.read(Artifact(ONNX, tmp_path))
    assert (built.weights(), built.operations()) == ({"float32": 8}, {"float32": 2})
    backend("openvino")
    import openvino

    core = openvino.Core()
    openvino.save_model(core.read_model(tmp_path / "model.onnx"), tmp_path / "model.xml", compress_to_fp16=False)
    assert graphs.read(Artifact(OPENVINO, tmp_path)).operations() == {"float32": 2}
