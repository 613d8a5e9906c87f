"""docs/trust.md from the command line: forged results in a store, results of others, and stores below one's own."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from command_line import MODEL, SHOP, Shop
from pickles import Canary

from pipeline.artifact import Artifact, Kind
from pipeline.store import Store

ANA = 12345
OVERRIDES = (*MODEL[:2], "model.weights=random", MODEL[3], "target=onnx", "capture=export")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="another user's files are made by root alone")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A folder whose store holds a finished conversion."""
    folder = tmp_path_factory.mktemp("built")
    shutil.copy(SHOP / "net.py", folder)
    shop = Shop(folder)
    done = shop.run(*OVERRIDES)
    assert done.returncode == 0, done.stderr
    return shop


@pytest.fixture
def shop(built: Shop, tmp_path: Path) -> Shop:
    return Shop(Path(shutil.copytree(built.folder, tmp_path / "shop")))


def hits(stderr: str) -> set[str]:
    return set(re.findall(r"^(\w+) +hit ", stderr, re.MULTILINE))


def forge(store: Store, canary: Path, record: str) -> None:
    """Puts a pickle into the stored capture and publishes it as the store does, under the capture's own key."""
    (entry,) = (store.root / "actions" / "capture_export").glob("*.json")
    content = json.loads(entry.read_text())
    stored = store.open(content["digest"])
    with store.staging() as folder:
        reader = torch._C.PyTorchFileReader(str(stored.file))
        writer = torch._C.PyTorchFileWriter(str(folder / stored.file.name))
        torch.save((Canary(canary), {}), store.root.parent / "evil")
        evil = (store.root.parent / "evil").read_bytes()
        for name in {*reader.get_all_records(), record} - {".data/serialization_id"}:
            content_ = evil if name == record else reader.get_record(name)
            writer.write_record(name, content_, len(content_))
        writer.write_end_of_file()
        published = store.publish(Artifact(Kind("exported"), folder, facts=stored.facts))
    entry.chmod(0o644)
    entry.write_text(json.dumps(content | {"digest": published.digest}))


@pytest.mark.parametrize(
    ("record", "code"),
    [("data/sample_inputs/model.pt", 0), pytest.param("data/weights/model.pt", 3, marks=pytest.mark.slow)],
)
def test_a_forged_capture_in_a_store_runs_nothing(shop: Shop, record: str, code: int) -> None:
    """Attack A1: another opset must export from it."""
    canary = shop.folder / "canary"
    forge(Store(shop.store), canary, record)
    done = shop.run(*OVERRIDES, "opset=20")
    assert {"reference", "capture"} <= hits(done.stderr), done.stderr
    assert done.returncode == code, done.stderr
    assert not canary.exists()
    assert ("is not read, for it is damaged or made to run code" in done.stderr) is (code == 3)


@as_root
def test_results_of_another_owner_are_hits_when_they_are_named(shop: Shop) -> None:
    """Attack A2, and the way on that the run tells."""
    for path in (shop.store, *shop.store.rglob("*")):
        os.chown(path, ANA, -1)
    trusting = shop.run(*OVERRIDES, "plan=true", f"trust=[user:{ANA},group:0]")
    assert {"reference", "capture", "export", "simplify"} <= hits(trusting.stdout), trusting.stdout + trusting.stderr
    assert "passed over" not in trusting.stderr
    alone = shop.run(*OVERRIDES, "plan=true")
    assert not hits(alone.stdout) - {"load", "eval"}, alone.stdout
    assert f"there is one of {ANA}, who is not trusted" in alone.stdout
    assert alone.stderr.count(f"passed over: 1 of {ANA}\n  try:     'trust=[user:{ANA}]'") == 1


def test_a_store_below_serves_hits_and_keeps_as_it_is(built: Shop, tmp_path: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in built.store.rglob("*")}
    mine = tmp_path / "mine"
    done = built.run(*OVERRIDES, "plan=true", f"store=[{mine},{built.store}]", "trust=[user:root]")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^export +hit ", done.stdout, re.MULTILINE), done.stdout
    assert not list(mine.glob("objects/*/*"))
    assert {p: p.stat().st_mtime_ns for p in built.store.rglob("*")} == before


def test_a_name_that_nobody_has_is_told_before_any_work(built: Shop) -> None:
    done = built.run(*OVERRIDES, "trust=[user:of-nobody,ana]")
    assert done.returncode == 2
    assert "trust[0] is 'user:of-nobody': there is no such user" in done.stderr
    assert "trust[1] is 'ana'\n  allowed: user:NAME or group:NAME" in done.stderr
    assert "Traceback" not in done.stderr


def test_whom_one_trusts_is_in_no_key_and_in_no_record(built: Shop) -> None:
    done = built.run(*OVERRIDES, "trust=[user:root]", "hydra.run.dir=trusting")
    assert done.returncode == 0, done.stderr
    assert {"reference", "capture", "export", "simplify"} <= hits(done.stderr)
    run = json.loads((built.folder / "trusting" / "run.json").read_text())
    assert "trust" not in json.dumps(run["record"])
