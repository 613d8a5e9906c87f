"""Helpers of the housekeeping's tests: a store with results of given ages and sizes."""

import os
import time

import pytest

from pipeline.artifact import Artifact
from pipeline.housekeeping import contents
from pipeline.housekeeping.index import Index
from pipeline.store import Entry, use
from pipeline.store import key as keys
from tests.pipeline.conftest import ONNX
from tests.pipeline.store.test_owners import home as home

DAY = 86400.0


def put(store, text, *, days=0.0, stage="export", size=1000, inputs=None):
    """Publishes a result with its entry, used so many days ago; its digest."""
    with store.staging() as folder:
        (folder / ONNX.file).write_text(text.ljust(size, "."))
        result = store.publish(Artifact(ONNX, folder, facts={"source": {"factory": f"nets.{text}"}}))
    document = keys.document(
        stage=stage, contract=1, code={}, settings={"text": text}, inputs=inputs or {}, libraries={}
    )
    store.record(Entry(keys.digest(document), document, result.digest, "onnx", {}, 1.0))
    with store.keeping():
        store.state(result.digest)
    at = time.time() - days * DAY
    os.utime(store.root / use.PLACE / result.digest, (at, at))
    os.utime(result.folder, (at, at))
    for path in (store.root / "actions" / stage).glob("*.json"):
        if path.is_file() and result.digest in path.read_text():
            os.utime(path, (at, at))
    return result.digest


def look(store, **how):
    """What is in a store by now."""
    return contents.read(store.root, Index(store.root), **how)


def digests(store):
    """The results that are on the disk."""
    return {p.name for p in (store.root / "objects").glob("*/*") if p.is_dir()}


def entries(store):
    """How many entries are on the disk."""
    return len(list((store.root / "actions").glob("*/*.json")))


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda fd: None)
