"""The record at a path that a person names, or a message why there is none."""

from __future__ import annotations

import json
import os

import pytest

from pipeline.errors import ConfigError
from pipeline.record import locate
from pipeline.record.locate import find
from pipeline.store.files import sha256
from tests.pipeline.conftest import without_record

STAGE = {
    "name": "compile",
    "stage": "s.S",
    "settings": {},
    "needs": {},
    "libraries": [],
}
# What each part of a record is broken by, one at a time.
BROKEN = [
    ({"schema": 99}, "schema 99"),
    ({"kind": "tea"}, "no record of ours"),
    ({"digest": 1}, "no record of ours"),
    ({"stages": [{}]}, "no record of ours"),
    ({"checks": [1]}, "no record of ours"),
    ({"handed_on_by": "nobody"}, "no record of ours"),
    ({"content": None}, "no record of ours"),
    ({"content": {"../../etc/passwd": "0"}}, "no record of ours"),
    ({"content": {"/etc/passwd": "0"}}, "no record of ours"),
    ({"digest": "../.."}, "no record of ours"),
    ({"files": ["../other.xml"]}, "no record of ours"),
    ({"stages": [STAGE, STAGE]}, "no record of ours"),
    ({"stages": [{**STAGE, "settings": {"x": "${oc.env:HOME}"}}]}, "no record of ours"),
    ({"precision": {}}, "no record of ours"),
]


@pytest.fixture
def delivered(dock):
    """The delivered folder of a run of fakes."""
    dock.run()
    return dock.output


def test_an_artifact_is_found_by_its_file_its_folder_and_what_lies_beside_it(delivered):
    expected = json.loads((delivered / "artifact.json").read_text())
    for path in (delivered / "model.xml", delivered / "model.bin", delivered, delivered / "artifact.json"):
        at = find(path)
        assert {**at.record, "files": expected["files"]} == expected
        assert (at.model, at.changes()) == (delivered / "model.xml", [])


def test_it_is_whole_under_another_name(delivered, tmp_path):
    for suffix in (".xml", ".bin"):
        (tmp_path / f"other{suffix}").write_bytes((delivered / f"model{suffix}").read_bytes())
    assert find(tmp_path / "other.xml").changes() == []


def spoil(path):
    path.write_bytes(path.read_bytes().replace(b"w", b"W", 1) if path.suffix == ".bin" else b" " + path.read_bytes())


@pytest.mark.parametrize("name", ["model.bin", "model.xml"])
def test_a_file_that_is_not_as_it_was_is_named(name, delivered):
    spoil(delivered / name)
    (change,) = find(delivered).changes()
    assert change.startswith(f"{name} is not what was handed over")


def test_a_file_that_is_gone_is_named(delivered):
    (delivered / "model.bin").unlink()
    assert find(delivered / "model.xml").changes() == ["model.bin is not there"]


@pytest.mark.parametrize(("change", "message"), BROKEN, ids=[str(c) for c, _ in BROKEN])
def test_a_record_that_is_none_of_ours_or_not_whole_is_refused(change, message, delivered):
    path = delivered / "artifact.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ConfigError, match=message):
        find(path)


def test_a_delivered_folder_without_its_model_is_not_as_it_was(delivered):
    (delivered / "model.xml").rename(delivered / "renamed.xml")
    assert find(delivered).changes() == [f"the model file is not in {delivered}"]


def test_what_a_bundle_adds_is_looked_at_too(delivered):
    (delivered / "reference.npz").write_bytes(b"answers")
    record = json.loads((delivered / "artifact.json").read_text())
    record["sha256"] = {"reference.npz": sha256(delivered / "reference.npz")}
    (delivered / "artifact.json").write_text(json.dumps(record))
    assert find(delivered).changes() == []
    (delivered / "reference.npz").write_bytes(b"others")
    (change,) = find(delivered).changes()
    assert change.startswith("reference.npz is not what was handed over")


def test_what_lies_beside_a_model_is_held_to_what_the_model_carries(delivered):
    record = json.loads((delivered / "artifact.json").read_text())
    (delivered / "artifact.json").write_text(json.dumps({**record, "facts": {"weights": {"trained": True}}}))
    assert find(delivered).changes() == ["artifact.json is not the record that model.xml carries"]


def test_a_model_without_a_record_says_so(delivered):
    path = delivered / "model.xml"
    path.write_text(without_record(path))
    with pytest.raises(ConfigError, match="carries no record"):
        find(path)


def test_a_run_is_found_with_all_that_is_known_of_it(delivered):
    record = json.loads((delivered / "artifact.json").read_text())
    run = {"record": record, "artifact": str(delivered / "model.xml"), "started": "then"}
    (delivered.parent / "run.json").write_text(json.dumps(run))
    at = find(delivered.parent)
    assert (at.run, at.record, at.model) == (run, record, delivered / "model.xml")


@pytest.mark.parametrize(
    ("name", "content", "command"),
    [
        ("run.json", "{}", "holds no record: that run delivered nothing"),
        ("run.json", "[]", r"no JSON file of ours"),
        ("x.lock.json", "{}", "no record of ours"),
        ("x.onnx", "PK\x03\x04", "ONNX file"),
        ("x.xml", "<html/>", "no OpenVINO IR"),
        ("x.engine", "", "no format that carries a record"),
    ],
)
def test_what_holds_no_record_is_told_with_what_would(name, content, command, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=command) as caught:
        find(tmp_path / name)
    assert all(p.allowed for p in caught.value.problems)


def test_a_path_that_leads_nowhere_is_told(tmp_path):
    with pytest.raises(ConfigError, match="there is no"):
        find(tmp_path / "gone")
    with pytest.raises(ConfigError, match=f"holds neither artifact.json nor {locate.RUN}"):
        find(tmp_path)


@pytest.mark.parametrize("name", ["run.json", "net.onnx", "net.xml"])
def test_a_pipe_is_refused_and_not_read(name, tmp_path):
    os.mkfifo(tmp_path / name)
    with pytest.raises(ConfigError, match=f"{name} is a named pipe, and no file"):
        find(tmp_path / name)
