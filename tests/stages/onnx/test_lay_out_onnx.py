"""onnx/lay_out_onnx.py: graph, weights beside it, configuration and tokenizer in one folder."""

import json
from dataclasses import replace

import decoders
import onnx
import pytest
from harness import contents, run_stage, shipped

from pipeline.artifact import Artifact
from pipeline.errors import StageError
from stages.generation.format import MODEL_FOLDER


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "chat_template.jinja", "notes.txt"):
        (folder / name).write_text("{}")
    (folder / "generation_config.json").write_text('{"do_sample": true, "temperature": 0.5}')
    return Artifact(MODEL_FOLDER, folder)


def test_what_a_runtime_looks_for_is_there_as_it_was(decoder_graph, files, tmp_path):
    laid_out = run_stage(shipped("lay_out_onnx"), {"graph": decoder_graph, "files": files}, tmp_path / "made")
    names = {"config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja", "model.onnx"}
    assert contents(laid_out.folder).keys() == {*names, "genai_config.json"}
    before = {**contents(decoder_graph.folder), **contents(files.folder)}
    assert {n: d for n, d in contents(laid_out.folder).items() if n in names} == {n: before[n] for n in names}
    search = json.loads((laid_out.folder / "genai_config.json").read_text())["search"]
    assert (search["do_sample"], search["temperature"]) == (True, 0.5)
    assert laid_out.notes["says"].startswith("genai_config.json for a decoder, tokenizer of")


def test_weights_that_lie_beside_the_graph_come_along(decoder_graph, tmp_path):
    folder = tmp_path / "apart"
    folder.mkdir()
    model = onnx.load(decoder_graph.file)
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="model.onnx.data", size_threshold=100)
    laid_out = run_stage(shipped("lay_out_onnx"), replace(decoder_graph, folder=folder), tmp_path / "made")
    assert {"model.onnx", "model.onnx.data"} < contents(laid_out.folder).keys()


def test_a_graph_that_is_no_decoder_is_told(decoder_graph, tmp_path):
    facts = {n: f for n, f in decoders.facts().items() if n != "generation"}
    with pytest.raises(StageError, match="is no decoder with a cache"):
        run_stage(shipped("lay_out_onnx"), replace(decoder_graph, facts=facts), tmp_path / "made")
