"""onnx/simplify.py."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import onnx
import onnxsim
import pytest
from conversions import edited
from harness import contents, run_stage, tolerance
from onnx import helper, numpy_helper

from stages.formats import session
from stages.onnx import file as onnx_file
from stages.onnx import weightless
from stages.onnx.simplify import Simplify, _Bulk

WHOLE = Simplify(2**29, tolerance("fp32"))
BARE = replace(WHOLE, weightless_above=0)


@pytest.fixture(scope="module")
def foldable(graph, tmp_path_factory):
    """The tiny graph with a constant to fold before its last node: bias + 0 + 0."""

    def add_zeros(model):
        gemm = model.graph.node[-1]
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(10, np.float32), "zeros"))
        first = helper.make_node("Add", [gemm.input[2], "zeros"], ["bias_1"], name="add_1")
        second = helper.make_node("Add", ["bias_1", "zeros"], ["bias_2"], name="add_2")
        gemm.input[2] = "bias_2"
        gemm.doc_string = "from somewhere.py"
        last = model.graph.node.pop()
        model.graph.node.extend([first, second, last])

    return edited(graph, tmp_path_factory.mktemp("foldable") / "graph", add_zeros)


@pytest.fixture(scope="module")
def beside(foldable, tmp_path_factory):
    """The same graph, its weights in a file beside it."""
    folder = tmp_path_factory.mktemp("beside")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_file, "LARGEST_PROTOBUF", 0)
        patch.setattr(onnx_file, "SMALLEST_EXTERNAL", 128)
        onnx_file.write(onnx_file.read(foldable.file), folder)
    return replace(foldable, folder=folder)


@pytest.fixture(autouse=True)
def _tiny_weights_are_large(monkeypatch):
    monkeypatch.setattr(weightless, "SMALL", 64)


def simplify(graph, reference, folder, stage=WHOLE):
    return run_stage(stage, {"graph": graph, "reference": reference}, folder)


def nodes(artifact):
    return len(onnx.load(artifact.file, load_external_data=False).graph.node)


@pytest.fixture(params=["whole", "bare", "beside"])
def pair(request, foldable, beside, reference, tmp_path):
    """A graph that can be simplified, and the result: with its weights, without them, and with them in a file."""
    source, stage = {"whole": (foldable, WHOLE), "bare": (foldable, BARE), "beside": (beside, BARE)}[request.param]
    return source, simplify(source, reference, tmp_path / "simplified", stage)


def test_a_smaller_graph_is_kept(pair):
    source, smaller = pair
    assert nodes(smaller) == nodes(source) - 2
    assert smaller.notes["says"].startswith(f"{nodes(source)} → {nodes(smaller)} nodes, -")
    assert "caution" not in smaller.notes


def test_a_smaller_graph_keeps_its_interface(pair):
    before, after = (onnx.load(a.file, load_external_data=False) for a in pair)
    assert [onnx_file.opset(m) for m in (before, after)] == [18, 18]
    for a, b in ((before.graph.input, after.graph.input), (before.graph.output, after.graph.output)):
        assert [(p.name, p.type) for p in a] == [(p.name, p.type) for p in b]


def test_a_smaller_graph_carries_provenance_and_tells_of_the_source_what_the_export_kept(pair):
    model = onnx.load(pair[1].file, load_external_data=False)
    assert "UNTRAINED" in {p.key: p.value for p in model.metadata_props}["drydock.weights"]
    provenance = {n.name: n.doc_string for n in model.graph.node if n.metadata_props or n.doc_string}
    assert provenance == {"node_linear": "from somewhere.py"}


def test_two_runs_are_the_same_bytes(foldable, reference, tmp_path):
    one, other = (simplify(foldable, reference, tmp_path / name) for name in ("one", "other"))
    assert contents(one.folder) == contents(other.folder)


def test_a_graph_that_gets_no_smaller_goes_on_as_it_was(graph, reference, tmp_path):
    result = simplify(graph, reference, tmp_path / "out")
    assert (result.folder, result.digest, result.facts) == (graph.folder, graph.digest, graph.facts)
    assert result.notes["says"].endswith("not smaller: kept as it was")
    assert "caution" not in result.notes
    assert contents(tmp_path / "out") == {}


def test_a_simplified_graph_is_not_simplified_further(pair, reference, tmp_path):
    assert simplify(pair[1], reference, tmp_path / "out").folder == pair[1].folder


def test_weights_are_not_shown_to_onnxsim_beyond_a_size_and_the_note_says_so(beside, reference, tmp_path, monkeypatch):
    shown, real = [], onnxsim.simplify
    monkeypatch.setattr(onnxsim, "simplify", lambda m, **k: shown.append(m.ByteSize()) or real(m, **k))
    for limit in (10**6, 0):
        stage = replace(WHOLE, weightless_above=limit)
        says = simplify(beside, reference, tmp_path / f"{limit}", stage).notes["says"]
        assert ("weights left aside" in says) is (limit == 0)
    whole, bare = shown
    assert bare < whole - 500


def test_weights_in_a_file_are_shared_with_the_graph_that_came_in(beside, reference, tmp_path):
    smaller = simplify(beside, reference, tmp_path / "out", BARE)
    assert sorted(contents(smaller.folder)) == ["model.onnx", "model.onnx.data"]
    assert (smaller.folder / "model.onnx.data").samefile(beside.folder / "model.onnx.data")
    assert b"".join(t.raw_data for t in onnx_file.read(smaller.file).graph.initializer)


def test_a_file_that_two_graphs_share_is_run_and_read(beside, reference, tmp_path):
    smaller = simplify(beside, reference, tmp_path / "out", BARE)
    assert session.open_session(smaller, "float32").computes_in == "float32"
    whole = {t.name: numpy_helper.to_array(t).tobytes() for t in onnx_file.read(beside.file).graph.initializer}
    read = {t.name: numpy_helper.to_array(t).tobytes() for t in onnx_file.read(smaller.file).graph.initializer}
    assert {name: whole[name] for name in read if name in whole} == {n: v for n, v in read.items() if n in whole}
    assert "conv.weight" in read


def wrong_weight(model):
    tensor = next(t for t in model.graph.initializer if t.name == "conv.weight")
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + 0.01, tensor.name))


def two_rows_only(model):
    model.graph.node[-1].output[0] = "before"
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 10], np.int64), "two_rows"))
    model.graph.node.append(helper.make_node("Reshape", ["before", "two_rows"], ["logits"]))


def newer_opset(model):
    model.opset_import[0].version += 1


def frozen_input(model):
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2


def renamed_output(model):
    model.graph.node[-1].output[0] = model.graph.output[0].name = "scores"


def no_first_node(model):
    del model.graph.node[0]


def unknown_operator(model):
    model.graph.node[0].domain = "nobody"
    model.opset_import.add(domain="nobody", version=1)


def crash(model):
    raise RuntimeError("\nsegmentation averted\nand a page of C++")


@pytest.mark.parametrize(
    "change",
    [wrong_weight, two_rows_only, newer_opset, frozen_input, renamed_output, no_first_node, unknown_operator, crash],
    ids=lambda f: f.__name__,
)
def test_a_result_that_does_not_check_out_is_dropped_and_the_summary_says_why(
    foldable, reference, tmp_path, monkeypatch, change
):
    says = {
        wrong_weight: "its result does not agree with the model: example (2x3x32x32): output 'logits' max_rel",
        two_rows_only: "its result cannot be run with CannotRun: this onnx cannot be run at 1x3x32x32",
        newer_opset: "onnxsim changed the opset",
        frozen_input: "onnxsim changed the graph's inputs",
        renamed_output: "onnxsim changed the graph's outputs",
        no_first_node: "its result cannot be run with",
        unknown_operator: "its result cannot be run with",
        crash: "onnxsim failed with RuntimeError: segmentation averted; the graph stays unchanged",
    }[change]
    monkeypatch.setattr(onnxsim, "simplify", partial(tampered, onnxsim.simplify, change))
    result = simplify(foldable, reference, tmp_path / "out")
    assert result.folder == foldable.folder
    assert result.notes["says"].startswith(says)
    assert result.notes["caution"] == result.notes["says"]


def tampered(real, change, model, **settings):
    result, whole = real(model, **settings)
    change(result)
    return result, whole


@pytest.mark.parametrize(
    ("bulk", "less"),
    [
        ((9, 50), True),
        ((9, 60), True),
        ((10, 40), True),
        ((10, 50), False),
        ((11, 40), False),
    ],
)
def test_a_graph_is_less_with_fewer_nodes_or_constants(bulk, less):
    assert _Bulk(*bulk).is_less_than(_Bulk(10, 50)) is less


def test_weights_count_wherever_they_are(foldable, beside):
    inside, outside = (onnx_file.read(a.file, weights=False) for a in (foldable, beside))
    assert _Bulk.measure(inside) == _Bulk.measure(outside)


def test_shapes_are_not_noted_in_a_graph_that_came_without(foldable, reference, tmp_path):
    bare = edited(foldable, tmp_path / "bare", lambda m: m.graph.ClearField("value_info"))
    assert not onnx.load(simplify(bare, reference, tmp_path / "out").file).graph.value_info


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"weightless_above": -1}, "weightless_above is -1"),
        ({"tolerance": replace(tolerance("fp32"), top1=2.0)}, "tolerance.top1 is 2.0"),
    ],
)
def test_a_setting_out_of_range_is_a_problem(settings, what):
    (problem,) = replace(WHOLE, **settings).problems()
    assert problem.what == what
    assert problem.allowed
