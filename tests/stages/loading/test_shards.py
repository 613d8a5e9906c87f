"""loading/shards.py: which files hold the weights, and what they hash to together."""

from __future__ import annotations

import hashlib
import json
import subprocess

import pytest

from pipeline.errors import ConfigError
from stages.loading import shards

INDEX = "model.safetensors.index.json"


def write(folder, *names, weight_map=None):
    for name in names:
        (folder / name).write_text(name)
    if weight_map is not None:
        (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    return folder


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["a.safetensors", "b.bin"], "a.safetensors"),
        (["a.bin", "config.json"], "a.bin"),
        (["a.pth"], "a.pth"),
    ],
)
def test_a_folder_stands_for_the_weights_in_it(tmp_path, files, names):
    assert shards.files(write(tmp_path, *files)) == [tmp_path / names]


@pytest.mark.parametrize("place", ["", INDEX])
def test_an_index_stands_for_its_shards(tmp_path, place):
    write(tmp_path, "1.safetensors", "2.safetensors", weight_map={"a": "2.safetensors", "b": "1.safetensors"})
    assert [f.name for f in shards.files(tmp_path / place)] == [INDEX, "1.safetensors", "2.safetensors"]


@pytest.mark.parametrize(
    ("files", "weight_map", "says"),
    [
        (["readme.md"], None, "a folder without weights; it holds readme.md"),
        (
            ["a.safetensors", "b.safetensors"],
            None,
            r"(?s)holds several: a.safe.*b.safe.*model.weights=/.*a.safetensors",
        ),
        (["1.safetensors"], {"a": "1.safetensors", "b": "2.safetensors"}, "1 of 2 shards that are not there: 2.safe"),
        ([], {"a": "../1.safetensors"}, r"shards that are not in its own folder: \.\./1"),
        ([], {"a": "/etc/passwd"}, "shards that are not in its own folder: /etc/passwd"),
        ([], {"a": ".."}, "shards that are not in its own folder"),
        ([], {"a": "sub/1.safetensors"}, "shards that are not in its own folder"),
        ([], {}, "its weight_map names no files"),
        ([], {"a": 3}, "its weight_map names no files"),
    ],
)
def test_what_is_not_as_it_should_be_is_found_before_any_work(tmp_path, files, weight_map, says):
    with pytest.raises(ConfigError, match=says):
        shards.files(write(tmp_path, *files, weight_map=weight_map))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "3"])
def test_a_damaged_index_is_named(tmp_path, text):
    (tmp_path / INDEX).write_text(text)
    with pytest.raises(ConfigError, match="is no index of shards"):
        shards.files(tmp_path)


def content(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_digest_of_shards_is_what_the_documented_command_prints(tmp_path):
    write(tmp_path, "model-1.safetensors", "model-2.safetensors", weight_map={"a": "model-1.safetensors"})
    command = "LC_ALL=C; export LC_ALL; sha256sum model*.safetensors* | sha256sum"
    printed = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert shards.digest(sorted(tmp_path.iterdir(), reverse=True), content) == printed.split()[0]


def test_the_digest_of_one_file_is_its_own(tmp_path):
    write(tmp_path, "a.pth")
    assert shards.digest([tmp_path / "a.pth"], content) == content(tmp_path / "a.pth")
