"""onnx/export_onnx.py, and what stages/onnx/file.py reads from a graph and writes into it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from conversions import agrees, capture, edited
from conversions import export as export_by
from harness import BATCH_SEQ, IMAGE, TOKENS, VECTOR, contents, run_stage
from nets import Attention, FixedBatch, GraphBranch, TinyConv, TwoOutputs
from torch.export import ExportedProgram

from pipeline.errors import CheckFailed, StageError
from stages.capture.opsets import DYNAMO
from stages.formats import session
from stages.interface.interface import Input, Interface, Output
from stages.onnx import file as onnx_file
from stages.onnx.export_onnx import ExportOnnx

ROOT = Path(__file__).parents[3]
IMAGES, LOGITS = IMAGE["input"], Output([], ["batch", 10], "float32")


def export(program, folder, *, opset=18):
    return run_stage(ExportOnnx(opset, {}, False), program, folder)


def export_net(net, folder, **interface):
    return export_by("export", net, folder, **interface)


def shapes(ports):
    return {p.name: [d.dim_param or d.dim_value for d in p.type.tensor_type.shape.dim] for p in ports}


def hold(graph, *, opset=18, **other):
    """Verifies a graph against its own interface, or against one that differs."""
    onnx_file.verify_interface(onnx_file.read(graph.file), opset, replace(Interface.read(graph), **other))


@pytest.mark.parametrize("opset", [18, 20, DYNAMO.stop - 1])
def test_the_file_has_the_opset_that_was_asked_for(program, tmp_path, opset):
    graph = export(program, tmp_path / "out", opset=opset)
    assert [o.version for o in onnx.load(graph.file).opset_import if o.domain == ""] == [opset]
    assert graph.facts["opset"] == opset
    session.open_session(graph, "float32")  # onnxruntime knows every opset that is offered


def test_names_and_dynamic_dimensions_are_as_asked(graph):
    model = onnx.load(graph.file)
    assert shapes(model.graph.input) == {"input": ["batch", 3, 32, 32]}
    assert shapes(model.graph.output) == {"logits": ["batch", 10]}


@pytest.mark.slow  # through the command line in test_models
def test_several_outputs_and_dimensions_keep_their_names(tmp_path):
    two = onnx.load(export_net(TwoOutputs(), tmp_path / "two", outputs=["logits", "features"]).file)
    assert shapes(two.graph.output) == {"logits": ["batch", 10], "features": ["batch", 4, 32, 32]}
    graph = export_net(Attention(), tmp_path / "attention", inputs=TOKENS, dims=BATCH_SEQ, outputs=["encoded"])
    assert shapes(onnx.load(graph.file).graph.output) == {"encoded": ["batch", "seq", 8]}


@pytest.mark.parametrize(
    ("net", "inputs"), [(TwoOutputs, IMAGE), (GraphBranch, VECTOR)], ids=["plain", "with subgraphs"]
)
def test_nothing_in_the_file_tells_where_it_was_made(tmp_path, net, inputs):
    content = export_net(net(), tmp_path, inputs=inputs).file.read_bytes()
    assert b"nets.py" not in content
    assert b"site-packages" not in content
    assert b"stack_trace" not in content


def test_provenance_is_written_into_the_file(graph):
    metadata = {p.key: p.value for p in onnx.load(graph.file).metadata_props}
    assert "UNTRAINED: drawn at random with seed 0" in metadata["drydock.weights"]
    assert "nets.TinyConv" in metadata["drydock.source"]


def test_provenance_of_an_earlier_stage_is_replaced_and_others_kept():
    model = onnx.ModelProto()
    onnx_file.stamp(model, {"weights": "old", "source": "gone"})
    model.metadata_props.add(key="author", value="someone")
    onnx_file.stamp(model, {"weights": "new"})
    assert {p.key: p.value for p in model.metadata_props} == {"author": "someone", "drydock.weights": "new"}


def test_two_exports_are_the_same_bytes(program, graph, tmp_path):
    assert contents(export(program, tmp_path / "again").folder) == contents(graph.folder)


def test_a_program_from_the_store_exports_the_same_bytes_as_a_live_one(program, graph, tmp_path):
    assert contents(export(replace(program, live=None), tmp_path / "again").folder) == contents(graph.folder)


@pytest.mark.slow
@pytest.mark.parametrize(("net", "inputs"), [(TinyConv, IMAGE), (GraphBranch, VECTOR)], ids=["plain", "subgraphs"])
def test_a_program_is_decomposed_once_and_exports_the_bytes_that_it_would_alone(tmp_path, net, inputs, monkeypatch):
    program, opsets = capture("export", net(), tmp_path, inputs=inputs), (18, 20, 19)
    alone = [contents(export(replace(program, live=None), tmp_path / f"{o}", opset=o).folder) for o in opsets]
    decomposed, real = [], ExportedProgram.run_decompositions
    monkeypatch.setattr(ExportedProgram, "run_decompositions", lambda p, t: decomposed.append(p) or real(p, t))
    assert [contents(export(program, tmp_path / f"live-{o}", opset=o).folder) for o in opsets] == alone
    assert decomposed == [program.live]


def test_weights_beyond_one_protobuf_go_beside_the_graph(program, reference, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "LARGEST_PROTOBUF", 0)
    graph = export(program, tmp_path / "out")
    assert sorted(contents(graph.folder)) == ["model.onnx", "model.onnx.data"]
    names = [i.name for i in onnx_file.read(graph.file, weights=False).graph.initializer if i.external_data]
    assert "conv.weight" in names
    session.open_session(graph, "float32")


def test_weights_beside_the_graph_are_not_held_in_one_piece(program, graph, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "LARGEST_PROTOBUF", 0)
    monkeypatch.setattr(torch.onnx.ONNXProgram, "model_proto", property(lambda p: pytest.fail("held in one piece")))
    external = export(program, tmp_path / "out")
    assert (external.file.stat().st_mode, external.facts) == (graph.file.stat().st_mode, graph.facts)
    whole, beside = (onnx_file.read(a.file) for a in (graph, external))
    assert weights(beside) == weights(whole)
    assert [(n.op_type, *n.input) for n in beside.graph.node] == [(n.op_type, *n.input) for n in whole.graph.node]
    assert contents(export(program, tmp_path / "again").folder) == contents(external.folder)


LET_GO = """
import gc, sys, weakref
from pathlib import Path
sys.path[:0] = ["tests"]
from conversions import export
from harness import BATCH_SEQ, TOKENS
from nets import Attention
from stages.onnx import file
file.LARGEST_PROTOBUF = 0
net = Attention()
weight = weakref.ref(net.layer.linear1.weight)
export("export", net, Path(sys.argv[1]), inputs=TOKENS, dims=BATCH_SEQ, outputs=["encoded"])
del net
gc.collect()
assert weight() is None
"""


@pytest.mark.slow  # a process of its own: what other tests left in memory may lead to the weights
def test_large_weights_are_let_go_once_they_are_written(tmp_path):
    done = subprocess.run([sys.executable, "-c", LET_GO, str(tmp_path)], cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


def weights(model):
    return {t.name: onnx.numpy_helper.to_array(t).tolist() for t in model.graph.initializer}


def test_a_graph_whose_weights_are_beside_it_is_as_clean_as_any(program, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "LARGEST_PROTOBUF", 0)
    content = export(program, tmp_path / "out").file.read_bytes()
    assert b"nets.py" not in content
    assert b"stack_trace" not in content
    assert b"drydock.weights" in content


def located(model, place, offset=0, length=432):
    """The first weight of the tiny graph in a file of this name."""
    tensor = next(t for t in model.graph.initializer if t.name == "conv.weight")
    onnx.external_data_helper.set_external_data(tensor, place, offset, length)
    tensor.ClearField("raw_data")


@pytest.mark.parametrize("place", ["../outside.bin", "/etc/hostname", "link.bin", "absent.bin", "sub/inside.bin", ".."])
def test_weights_are_read_from_plain_files_beside_the_graph_alone(graph, tmp_path, place):
    broken = edited(graph, tmp_path / "graph", lambda m: located(m, place))
    for path in (tmp_path / "outside.bin", tmp_path / "graph" / "sub" / "inside.bin"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(1000))
    (tmp_path / "graph" / "link.bin").symlink_to(tmp_path / "outside.bin")
    with pytest.raises(StageError, match=r"weight 'conv\.weight' is in .* which is no file beside the graph"):
        onnx_file.read(broken.file)
    assert onnx_file.read(broken.file, weights=False).graph.node


@pytest.mark.parametrize(("offset", "length", "size"), [(600, 432, 400), (2000, 432, 0)])
def test_a_file_that_is_shorter_than_the_graph_says_is_found_out(graph, tmp_path, offset, length, size):
    broken = edited(graph, tmp_path / "graph", lambda m: located(m, "weights.bin", offset, length))
    (tmp_path / "graph" / "weights.bin").write_bytes(bytes(1000))
    with pytest.raises(StageError, match=f"weights.bin holds {size} bytes of the weight 'conv.weight', not 432"):
        onnx_file.read(broken.file)


@pytest.mark.parametrize(
    ("opset", "allowed", "command"),
    [
        (17, "18 to 26; capture=trace writes it", "opset=17 capture=trace"),
        (7, "18 to 26; capture=trace writes it", "opset=7 capture=trace"),
        (27, "18 to 26", "opset=26"),
    ],
)
def test_an_opset_out_of_range_is_a_problem_with_a_way_out(opset, allowed, command):
    (problem,) = ExportOnnx(opset, {}, False).problems()
    assert problem.what == f"opset is {opset}, which the dynamo exporter does not write"
    assert (problem.allowed, problem.command) == (allowed, command)


@pytest.mark.parametrize("opset", DYNAMO)
def test_every_opset_in_range_is_accepted(opset):
    assert ExportOnnx(opset, {}, False).problems() == []


def test_an_exporter_that_writes_another_opset_is_found_out(program, tmp_path):
    stage = ExportOnnx(17, {}, False)  # torch logs a failed conversion, and writes 18 all the same
    with pytest.raises(StageError, match="asked for opset 17, the exporter wrote 18"):
        stage.run({"program": program}, tmp_path)


def test_a_graph_that_is_as_asked_is_accepted(graph):
    hold(graph)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"opset": 19}, StageError, "asked for opset 19, the exporter wrote 18"),
        ({"inputs": {"image": IMAGES}}, StageError, "the graph's inputs are input; the model's are image"),
        ({"inputs": {"input": IMAGES, "mask": Input(["batch"])}}, StageError, "the model's are input, mask"),
        ({"outputs": {"scores": LOGITS}}, StageError, "the graph's outputs are logits; the model's are scores"),
        ({"outputs": {"logits": LOGITS, "features": LOGITS}}, StageError, "the model's are logits, features"),
        (
            {"inputs": {"input": Input([2, 3, 32, 32])}},
            CheckFailed,
            "dimension 0 of input 'input' was asked for as 2 and came out as batch",
        ),
        (
            {"inputs": {"input": Input(["batch", 3, "side", 32])}},
            CheckFailed,
            "dimension 2 of input 'input' was to follow 'side' and came out as 32",
        ),
        (
            {"outputs": {"logits": Output([], ["batch", "classes"], "float32")}},
            CheckFailed,
            "dimension 1 of output 'logits' was to follow 'classes' and came out as 10",
        ),
    ],
)
def test_a_graph_that_is_not_as_asked_is_refused_by_name(graph, changes, error, says):
    with pytest.raises(error, match=says):
        hold(graph, **changes)


def other_names(model):
    for port in (model.graph.input[0], model.graph.output[0]):
        port.type.tensor_type.shape.dim[0].dim_param = "s0"


def unknown_size(model):
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "s1"


def no_shape(model):
    model.graph.output[0].type.tensor_type.ClearField("shape")


@pytest.mark.parametrize("lose", [other_names, unknown_size, no_shape])
def test_what_an_exporter_does_not_know_of_a_dimension_is_written_into_the_graph(graph, lose):
    model = onnx_file.read(graph.file)
    lose(model)
    onnx_file.verify_interface(model, 18, Interface.read(graph))
    assert shapes(model.graph.input) == {"input": ["batch", 3, 32, 32]}
    assert shapes(model.graph.output) == {"logits": ["batch", 10]}


def test_a_frozen_dimension_is_refused_by_name(graph, tmp_path):
    frozen = edited(
        graph, tmp_path / "edited", lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[0], "dim_value", 2)
    )
    with pytest.raises(CheckFailed, match="dimension 0 of input 'input' was to follow 'batch' and came out as 2"):
        hold(frozen)


class FromWhereItHolds(FixedBatch):
    """Its number of rows depends on values: four in every case of the reference."""

    def forward(self, x):
        return self.head(x), (x[0] > -1e9).nonzero()


def test_a_size_that_follows_values_is_left_open_though_it_was_the_same_each_time(tmp_path):
    graph = export_net(FromWhereItHolds(), tmp_path, inputs=VECTOR, outputs=["scores", "places"])
    places = shapes(onnx.load(graph.file).graph.output)["places"]
    assert isinstance(places[0], str)
    assert Interface.read(graph).outputs["places"].shape[0] == 4


def test_weights_are_called_as_in_the_state_dict_inside_branches_too(tmp_path):
    net = GraphBranch()
    graph = export_net(net, tmp_path, inputs=VECTOR)
    assert {i.name for i in onnx.load(graph.file).graph.initializer} >= {*net.state_dict()}
    agrees(graph, tmp_path)


def test_a_weight_whose_own_name_is_taken_keeps_its_prefix(graph, tmp_path):
    def clash(model):
        model.graph.initializer[0].name = "model.input"
        onnx_file.unprefix(model, "model.")

    model = onnx_file.read(edited(graph, tmp_path / "edited", clash).file)
    assert model.graph.initializer[0].name == "model.input"


def test_an_initialiser_that_is_listed_as_an_input_is_not_taken_for_one(graph, tmp_path):
    def list_weights(model):
        for tensor in model.graph.initializer:
            model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))

    hold(edited(graph, tmp_path / "edited", list_weights))


def test_exporting_leaves_the_callers_generator_alone(program, tmp_path):
    before = torch.random.get_rng_state()
    export(program, tmp_path / "out")
    assert torch.equal(torch.random.get_rng_state(), before)
