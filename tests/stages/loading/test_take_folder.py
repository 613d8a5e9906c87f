"""loading/take_folder.py: what lies beside the weights; a tokenizer that does not fit is refused before any work."""

import json
from dataclasses import replace

import pytest
from harness import run_stage, shipped, world

from pipeline.errors import ConfigError

SMALL = {"model_type": "llama", "vocab_size": 320, "eos_token_id": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder_ = tmp_path_factory.mktemp("folder")
    words = {f"w{n}": n for n in range(318)}
    added = [{"id": 319, "content": "</s>", "special": True}]
    (folder_ / "tokenizer.json").write_text(
        json.dumps({"model": {"type": "BPE", "vocab": words}, "added_tokens": added})
    )
    (folder_ / "chat_template.jinja").write_text("{{ messages }}")
    (folder_ / "config.json").write_text(json.dumps({**SMALL, "hidden_size": 64, "_name_or_path": "/home/me"}))
    (folder_ / "model.safetensors").write_bytes(b"weights")
    (folder_ / "modeling_mine.py").write_text("raise SystemExit")
    return folder_


def copied(folder, into, **settings):
    settings_ = {"weights": str(folder), "kwargs": {}, "sha256": None, "revision": None, "tokenizer": True, **settings}
    return run_stage(shipped("take_folder", **settings_).settle(world(into)), {}, into / "made")


def test_configuration_and_tokenizer_come_along_and_neither_weights_nor_code(folder, tmp_path):
    result = copied(folder, tmp_path, kwargs={"hidden_size": 32, "attn_implementation": "eager"})
    names = {p.name for p in result.folder.iterdir()}
    assert {"config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"} <= names
    assert not {"model.safetensors", "modeling_mine.py"} & names
    document = json.loads((result.folder / "config.json").read_text())
    assert (document["hidden_size"], "_name_or_path" in document, "attn_implementation" in document) == (
        32,
        False,
        False,
    )
    assert json.loads((result.folder / "generation_config.json").read_text()) == {"eos_token_id": 2}


def test_without_a_tokenizer_where_that_is_asked_for(folder, tmp_path):
    result = copied(folder, tmp_path, tokenizer=False)
    assert {p.name for p in result.folder.iterdir()} == {"config.json", "generation_config.json"}


def test_the_key_knows_what_the_files_hold(folder, tmp_path):
    stage = shipped("take_folder", weights=str(folder), kwargs={}, revision=None, tokenizer=True, sha256=None)
    first = stage.settle(world(tmp_path)).identity(world(tmp_path))
    template = folder / "chat_template.jinja"
    before = template.read_text()
    template.write_text(before + " ")
    assert stage.settle(world(tmp_path / "other")).identity(world(tmp_path)) != first
    template.write_text(before)
    assert replace(stage, tokenizer=False).settle(world(tmp_path / "third")).identity(world(tmp_path)) != first


@pytest.mark.slow
def test_random_weights_have_a_configuration_alone(tmp_path):
    result = copied("random", tmp_path, kwargs={**SMALL, "hidden_size": 64})
    assert json.loads((result.folder / "config.json").read_text())["hidden_size"] == 64
    assert json.loads((result.folder / "generation_config.json").read_text())["eos_token_id"] == 2


def test_a_tokenizer_beyond_the_vocabulary_is_refused_before_any_work(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"makes tokens up to 319, and the model knows 300, 0 to 299"):
        copied(folder, tmp_path, kwargs={"vocab_size": 300})


@pytest.mark.parametrize(("weights", "says"), [("no/where/at", "it is no folder"), ("nowhere", "it is no folder")])
def test_what_is_no_folder_is_told(weights, says, tmp_path):
    with pytest.raises(ConfigError, match=says):
        copied(weights, tmp_path)


def test_a_folder_without_a_configuration_is_told(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "vocab.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"has no config\.json; it holds vocab\.json"):
        copied(tmp_path / "empty", tmp_path)
