"""Action entries: which key gave which content; the first writer wins and nonsense counts as nothing."""

import errno
import json
import os
from dataclasses import asdict, replace

import pytest

from pipeline.store import files
from pipeline.store.actions import Actions, Entry
from tests.pipeline.conftest import raising

STAGE, KEY, OURS, THEIRS = "stages.export.Export", "0a" * 32, "1b" * 32, "2c" * 32
ENTRY = Entry(KEY, {"stage": STAGE, "settings": {"opset": 18}}, OURS, "onnx", {"says": "opset 18"}, 1.5)


@pytest.fixture
def actions(tmp_path):
    return Actions(tmp_path)


def folder(tmp_path):
    return tmp_path / "actions" / STAGE


def plant(tmp_path, content):
    folder(tmp_path).mkdir(parents=True, exist_ok=True)
    (folder(tmp_path) / f"{KEY}.json").write_bytes(content)


def test_an_entry_is_found_as_it_was_written(actions):
    assert actions.add(ENTRY) == ENTRY
    assert actions.find(STAGE, KEY) == ENTRY


def test_what_was_never_written_is_not_found(actions):
    assert actions.find(STAGE, KEY) is None


def test_the_first_writer_wins_and_the_second_is_told(actions, tmp_path):
    actions.add(ENTRY)
    assert actions.add(replace(ENTRY, digest=THEIRS)) == ENTRY
    assert actions.find(STAGE, KEY) == ENTRY
    assert [p.name for p in folder(tmp_path).iterdir()] == [f"{KEY}.json"]


def test_an_entry_whose_content_is_gone_gives_way(actions):
    actions.add(ENTRY)
    rebuilt = replace(ENTRY, digest=THEIRS)
    assert actions.add(rebuilt, replacing=OURS) == rebuilt
    assert actions.find(STAGE, KEY) == rebuilt


def test_only_the_content_that_is_gone_gives_way(actions):
    actions.add(ENTRY)
    assert actions.add(replace(ENTRY, digest=THEIRS), replacing="3d" * 32) == ENTRY


WHOLE = json.dumps(asdict(ENTRY)).encode()
NOT_OURS = {
    "empty": b"",
    "torn": WHOLE[: len(WHOLE) // 2],
    "short by a byte": WHOLE[:-1],
    "not a mapping": b"[]",
    "another key": WHOLE.replace(KEY.encode(), b"ff" * 32),
    "no digest": WHOLE.replace(b'"digest"', b'"digets"'),
    "no key": WHOLE.replace(b'"key":', b'"kay":'),
    "a digest that is a number": WHOLE.replace(f'"{OURS}"'.encode(), b"5"),
    "a digest that is a path": WHOLE.replace(OURS.encode(), b"../../elsewhere"),
    "notes that are a list": WHOLE.replace(b'{"says": "opset 18"}', b'["x"]'),
    "nested beyond reason": b"[" * 100_000,
    "not text": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("content", NOT_OURS.values(), ids=NOT_OURS)
def test_an_entry_that_is_torn_or_foreign_counts_as_none(actions, tmp_path, content):
    plant(tmp_path, content)
    assert actions.find(STAGE, KEY) is None


@pytest.mark.parametrize("content", NOT_OURS.values(), ids=NOT_OURS)
def test_an_entry_that_counts_as_none_is_written_over(actions, tmp_path, content):
    plant(tmp_path, content)
    assert actions.add(ENTRY) == ENTRY
    assert actions.find(STAGE, KEY) == ENTRY


def test_an_oversized_entry_counts_as_none(actions, monkeypatch):
    actions.add(ENTRY)
    monkeypatch.setattr(files, "LARGEST_JSON", 100)
    assert actions.find(STAGE, KEY) is None


def test_a_field_from_the_future_is_passed_over(actions, tmp_path):
    plant(tmp_path, json.dumps(asdict(ENTRY) | {"host": "x"}).encode())
    assert actions.find(STAGE, KEY) == ENTRY


def test_the_latest_entries_of_a_stage_come_first_and_only_as_many_as_asked(actions, tmp_path):
    for i in range(4):
        actions.add(replace(ENTRY, key=f"{i:064x}"))
        os.utime(folder(tmp_path) / f"{i:064x}.json", (i, i))
    assert [int(e.key, 16) for e in actions.of_stage(STAGE, 3)] == [3, 2, 1]


def test_another_stage_and_nonsense_are_not_among_a_stages_entries(actions, tmp_path):
    actions.add(ENTRY)
    actions.add(replace(ENTRY, key="0b" * 32, key_document={"stage": "stages.other.Other"}))
    (folder(tmp_path) / f"{'0c' * 32}.json").write_text("{")
    assert list(actions.of_stage(STAGE, 50)) == [ENTRY]
    assert list(actions.of_stage("stages.never.Built", 50)) == []


@pytest.mark.parametrize("call", ["os.fsync", "os.link"])
def test_an_entry_that_cannot_be_written_leaves_nothing(actions, tmp_path, monkeypatch, call):
    monkeypatch.setattr(call, raising(OSError(errno.ENOSPC, "full")))
    with pytest.raises(OSError, match="full"):
        actions.add(ENTRY)
    assert list(folder(tmp_path).iterdir()) == []


def test_an_entry_is_on_the_disk_before_it_has_its_name(actions, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", raising(OSError("power is lost")))
    linked = []
    monkeypatch.setattr(os, "link", lambda *a: linked.append(a))
    with pytest.raises(OSError, match="power is lost"):
        actions.add(ENTRY)
    assert linked == []
