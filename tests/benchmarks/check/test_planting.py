"""A mutant differs from the right artifact in one thing, and the list of mutants is the same every time."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.check.faults.mutant import Mutant, chosen
from benchmarks.check.faults.onnx import planting
from benchmarks.check.models.subjects import Subject

SUBJECT = Subject(
    "small",
    "",
    {
        "x": {"shape": ["batch", "length", 4], "dtype": "float32", "fill": "normal"},
        "mask": {"shape": ["batch", "length"], "dtype": "int64", "fill": "mask"},
    },
    {"batch": (1, 2, 4), "length": (2, 4, 12)},
)
# Of each kind, what a mutant may touch: one node, the uses of one edge, or outputs that change places.
NODE, EDGE, PAIR = "one node", "one edge", "a pair"
TOUCHED = dict.fromkeys(
    (
        "axis",
        "padding",
        "mode",
        "epsilon",
        "constant",
        "mask value",
        "weights",
        "weights in fewer bits",
        "weights lost",
    ),
    NODE,
)
TOUCHED |= dict.fromkeys(("weights moved", "index off by one", "frozen size", "another operator"), NODE)
TOUCHED |= dict.fromkeys(("operator dropped", "unstable formula", "inputs swapped", "wrong edge"), NODE)
TOUCHED |= dict.fromkeys(("narrowed type", "clipped", "mask ignored", "size relation"), EDGE)
TOUCHED |= {"outputs swapped": PAIR}


def graph():
    """Attention of a sort: a mask, a softmax, a reshape to a size that is computed, an epsilon, two outputs."""
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((4, 4)), "b": rng.standard_normal(4), "low": -1e9, "eps": 1e-6, "scale": 0.5}
    tensors = [numpy_helper.from_array(np.asarray(v, np.float32), n) for n, v in weights.items()]
    whole = {"two": [2], "one": [1], "zero": 0, "back": [-1], "first": [0]}
    tensors += [numpy_helper.from_array(np.asarray(v, np.int64), n) for n, v in whole.items()]
    steps = [
        ("MatMul", ["x", "w"], ["mm"], {}),
        ("Add", ["mm", "b"], ["sum"], {}),
        ("Relu", ["sum"], ["act"], {}),
        ("Transpose", ["act"], ["turned"], {"perm": [0, 2, 1]}),
        ("MatMul", ["act", "turned"], ["near"], {}),
        ("Mul", ["near", "scale"], ["scaled"], {}),
        ("Cast", ["mask"], ["seen"], {"to": TensorProto.BOOL}),
        ("Unsqueeze", ["seen", "one"], ["wide"], {}),
        ("Where", ["wide", "scaled", "low"], ["held"], {}),
        ("Softmax", ["held"], ["share"], {"axis": -1}),
        ("MatMul", ["share", "act"], ["mixed"], {}),
        ("Shape", ["x"], ["sizes"], {}),
        ("Gather", ["sizes", "first"], ["rows"], {"axis": 0}),
        ("Concat", ["rows", "back"], ["target"], {"axis": 0}),
        ("Reshape", ["mixed", "target"], ["flat"], {}),
        ("ReduceMean", ["flat", "one"], ["mean"], {"keepdims": 1}),
        ("Sub", ["flat", "mean"], ["centred"], {}),
        ("Add", ["centred", "eps"], ["first_output"], {}),
        ("Sigmoid", ["flat"], ["second_output"], {}),
    ]
    nodes = [helper.make_node(op, i, o, name=f"node {n}", **a) for n, (op, i, o, a) in enumerate(steps)]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "length", 4]),
        helper.make_tensor_value_info("mask", TensorProto.INT64, ["batch", "length"]),
    ]
    outputs = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", None]) for n in ("first_output", "second_output")
    ]
    graph_proto = helper.make_graph(nodes, "small", inputs, outputs, tensors)
    return helper.make_model(graph_proto, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def inputs_at(batch, length):
    return {
        "x": np.random.default_rng(1).standard_normal((batch, length, 4)).astype(np.float32),
        "mask": np.ones((batch, length), np.int64),
    }


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    file = tmp_path_factory.mktemp("graph") / "model.onnx"
    onnx.save(graph(), file)
    return list(planting.mutants(file, SUBJECT, (inputs_at(2, 4), inputs_at(4, 12))))


def test_every_kind_of_fault_is_planted(planted):
    assert {m.kind for m in planted} == TOUCHED.keys() - {"padding", "mode"}  # this graph has neither


def test_a_mutant_changes_one_thing(planted):
    right = graph()
    wrong = {m.name: touched for m in planted if (touched := _touched(right, m)) != TOUCHED[m.kind]}
    assert wrong == {}


def test_the_mutants_are_the_same_every_time_and_have_names_of_their_own(planted, tmp_path):
    onnx.save(graph(), tmp_path / "model.onnx")
    again = [m.name for m in planting.mutants(tmp_path / "model.onnx", SUBJECT, (inputs_at(2, 4), inputs_at(4, 12)))]
    assert again == [m.name for m in planted]
    assert len(set(again)) == len(again)


def test_kinds_take_turns_among_the_chosen():
    possible = [Mutant("many", str(n), print) for n in range(50)] + [Mutant("few", str(n), print) for n in range(3)]
    kinds = chosen(possible, 10, "a text")
    assert kinds == chosen(possible, 10, "a text")
    assert sorted(m.kind for m in kinds) == ["few"] * 3 + ["many"] * 7
    assert chosen(possible, 10, "another") != kinds


def _touched(right, mutant):
    """What a mutant touches, of NODE, EDGE and PAIR; otherwise, in words, the nodes and edges."""
    model = copy.deepcopy(right)
    mutant.apply(model)
    now = {n.name: n for n in model.graph.node if n.name}
    gone = [n.name for n in right.graph.node if n.name not in now]
    other = [n for n in right.graph.node if n.name in now and n != now[n.name]]
    edges = {old for n in other for old in _renamed(n, now[n.name])}
    if mutant.kind == "outputs swapped" and not gone and len(edges) == (1 if "' is '" in mutant.what else 2):
        return PAIR
    if len(gone) + len(other) == 1 and TOUCHED[mutant.kind] == NODE:
        return NODE
    return EDGE if not gone and len(edges) == 1 else f"{gone} {[n.name for n in other]} {edges}"


def _renamed(before, after):
    pairs = [*zip(before.input, after.input, strict=True), *zip(before.output, after.output, strict=True)]
    return {old for old, new in pairs if old != new}
