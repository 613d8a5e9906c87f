"""checking/check_generation.py: folders go on in their own runtimes as the model does, and what differs is named."""

import json
import shutil
from dataclasses import replace

import decoders
import onnx
import pytest
from harness import backend, run_stage, shipped, tolerance
from onnx import numpy_helper

from pipeline.errors import CheckFailed
from stages.onnx.format import ONNX_GENERATION
from stages.portable import generating


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    stage = shipped("record_tokens", prompts=[1, 7, 30], tokens=12, seed=0)
    return run_stage(stage, decoders.record_inputs(), tmp_path_factory.mktemp("tokens") / "made")


@pytest.fixture(scope="module")
def genai(decoder_graph, tmp_path_factory):
    backend("onnxruntime_genai")
    return run_stage(shipped("lay_out_onnx"), decoder_graph, tmp_path_factory.mktemp("genai") / "made")


@pytest.fixture(scope="module")
def ir(decoder_ir, tmp_path_factory):
    backend("openvino_genai")
    more = tmp_path_factory.mktemp("made")
    stateful = run_stage(shipped("make_stateful", cache="float32"), decoder_ir, more / "stateful")
    return run_stage(shipped("lay_out_openvino"), stateful, more / "folder")


def check(folder, tokens, into, **settings):
    fields = {"tolerance": tolerance("fp32"), "compute": "float32", "properties": {}, "ours": False, **settings}
    return run_stage(shipped("check_generation", extensions=[], **fields), {"artifact": folder, "tokens": tokens}, into)


@pytest.mark.parametrize("ours", [False, True])
@pytest.mark.parametrize("which", ["genai", "ir"])
def test_a_folder_goes_on_as_the_model_does_and_the_record_says_through_what(which, ours, request, tokens, tmp_path):
    result = check(request.getfixturevalue(which), tokens, tmp_path / "made", ours=ours)
    notes, claim = result.notes["generation"], result.notes["claims"]["tokens"]
    assert notes["equal"] == sum(len(row) for b in generating.read_tokens(tokens.file).batches for row in b.tokens)
    assert ("our own loop" in result.notes["says"], bool(claim["by_ours"])) == (ours, ours)
    assert claim["not_asked"] == {"tokenizer": "the model came without one"}
    if which == "ir":
        assert notes["properties"] == {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}


def test_a_property_that_is_set_otherwise_than_asked_is_told(ir, tokens, tmp_path):
    with pytest.raises(CheckFailed, match=r"RATE was asked for as 0\.3, OpenVINO set it to 0\.300000"):
        check(ir, tokens, tmp_path / "made", properties={"CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE": "0.3"})


def changed(genai, folder, change):
    """The folder with another graph in it."""
    shutil.copytree(genai.folder, folder)
    model = onnx.load(genai.folder / "model.onnx")
    change(model.graph)
    (folder / "model.onnx").unlink()
    onnx.save(model, folder / "model.onnx")
    return replace(genai, folder=folder)


def drop_mask(graph):
    """All tokens are seen, those too that fill up."""
    ones = numpy_helper.from_array(numpy_helper.to_array(onnx.helper.make_tensor("one", 7, [1], [1])), "one_")
    graph.initializer.append(ones)
    shape = onnx.helper.make_node("Shape", ["attention_mask"], ["shape_of_mask"])
    filled = onnx.helper.make_node("Expand", ["one_", "shape_of_mask"], ["all_ones"])
    for node in graph.node:
        if node.op_type != "Shape":
            node.input[:] = ["all_ones" if name == "attention_mask" else name for name in node.input]
    graph.node.insert(0, filled)
    graph.node.insert(0, shape)


def swap_caches(graph):
    """What the first layer keeps is handed to the second."""
    names = {"past_key_values.0.key": "past_key_values.1.key", "past_key_values.1.key": "past_key_values.0.key"}
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]


@pytest.mark.parametrize(("change", "says"), [(drop_mask, "filled up"), (swap_caches, "at 2 comes")])
def test_a_graph_that_is_wrong_only_padded_or_only_in_what_follows_is_caught(change, says, genai, tokens, tmp_path):
    with pytest.raises(CheckFailed, match=f"(?s)does not continue as the PyTorch model does.*{says}"):
        check(changed(genai, tmp_path / "other", change), tokens, tmp_path / "made")


def test_a_folder_that_the_runtime_does_not_load_is_told_with_what_shows_why(genai, tokens, tmp_path):
    shutil.copytree(genai.folder, tmp_path / "other")
    document = json.loads((tmp_path / "other" / "genai_config.json").read_text())
    document["model"]["type"] = "no_such_type"
    (tmp_path / "other" / "genai_config.json").unlink()
    (tmp_path / "other" / "genai_config.json").write_text(json.dumps(document))
    with pytest.raises(CheckFailed, match=r"does not load the folder: .*no_such_type(.|\n)*ours=true"):
        check(replace(genai, folder=tmp_path / "other"), tokens, tmp_path / "made")


def test_nothing_is_passed_where_no_choice_was_clear(genai, tokens, tmp_path):
    record = generating.read_tokens(tokens.file)
    close = [
        b._replace(tokens=[[5] * 12 for _ in b.tokens], margins=[[0.0] * 12 for _ in b.tokens]) for b in record.batches
    ]
    (tmp_path / "t").mkdir()
    generating.write_tokens(record._replace(batches=close), tmp_path / "t" / "tokens.json")
    result = check(genai, replace(tokens, folder=tmp_path / "t"), tmp_path / "made")
    assert "NOT CHECKED: tokens of the PyTorch model, no first choice is further ahead" in result.notes["caution"]
    assert result.notes["generation"]["alike"] > 20  # which are those of its graph in our own loop


def test_states_that_the_runtime_does_not_feed_are_handed_on_by_our_own_loop(genai, tokens, tmp_path):
    caches = [replace(c, kind="ssm") for c in decoders.GENERATION.cache]
    other = replace(genai, facts=decoders.facts(replace(decoders.GENERATION, cache=caches)))
    result = check(other, tokens, tmp_path / "made")
    assert result.kind == ONNX_GENERATION
    assert "feeds keys and values, and this model's cache has other states" in result.notes["generation"]["by_ours"]
