"""Writers that race and writers that are killed: one wins, and nothing that can be found leads to something partial."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from pipeline.remote.client import PART
from pipeline.remote.names import action_name, read_manifest
from pipeline.remote.signing import verified
from pipeline.remote.uploads import Uploads
from pipeline.stage import name_of
from pipeline.store import Entry
from tests.pipeline.conftest import Random
from tests.pipeline.remote.conftest import BUCKET, PREFIX, Machine, bucket_of
from tests.test_architecture import ROOT

KEY, STAGE = "0a" * 32, "export"
ADDRESS = f"s3://{BUCKET}/{PREFIX}"
# A process that publishes one result, of a large file and two small ones, and puts it into the bucket.
WRITER = f"""
import sys
from pathlib import Path
from pipeline.artifact import Artifact, Kind
from pipeline.remote import signing
from pipeline.remote.address import Address
from pipeline.remote.bucket import Bucket
from pipeline.remote.remote import Remote
from pipeline.store import Entry, Store
root, seed = Path(sys.argv[1]), sys.argv[2].encode()
remote = Remote(Bucket(Address.parse("{ADDRESS}")), root, frozenset(), signing.own(), write=True)
store = Store(root, elsewhere=remote)
with store.in_use():
    with store.staging() as folder:
        (folder / "model.onnx").write_bytes(seed)
        (folder / "weights.bin").write_bytes(seed * ({PART + PART // 2} // len(seed)))
        made = store.publish(Artifact(Kind("onnx"), folder))
    print("ready", flush=True)
    sys.stdin.readline()
    store.offer(store.record(Entry("{KEY}", {{"stage": "{STAGE}"}}, made.digest, "onnx", {{}}, 0.5)))
"""


def writer(home, seed: str) -> subprocess.Popen[str]:
    """Such a process, which has its result and waits for a line to begin."""
    command = [sys.executable, "-c", WRITER, str(home), seed]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=dict(os.environ)
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def assert_nothing_partial(server, signer) -> int:
    """Every file is what its name says, and every entry leads to a manifest and all of its files; how many entries."""
    for path in server.files("files"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    listings = {p.stem: read_manifest(json.loads(p.read_bytes()), p.stem) for p in server.files("objects")}
    assert None not in listings.values()
    names = {path.name for path in server.files("files")}
    assert {f.sha256 for listing in listings.values() for f in listing.files} <= names
    entries = [verified(p.read_bytes(), p.stem, {signer.id}) for p in server.files("actions")]
    assert {entry.digest for entry in entries if entry is not None} <= listings.keys()
    return len(entries)


@pytest.fixture
def survivor(server, signer, tmp_path):
    """Puts the result there after all, and reads it as another machine does."""

    def run(home, seed):
        process = writer(home, seed)
        go(process)
        assert process.wait(60) == 0
        assert assert_nothing_partial(server, signer) == 1
        store = Machine(tmp_path / f"reader-{seed}", signer).store
        assert store.open(store.find(STAGE, KEY).digest).file.read_text() == seed

    return run


def killed_at(server, process, number: int, when: str) -> None:
    """Kills a process with its n-th request: before it is read, with half of its body read, or once it is answered."""
    count = Counter()

    def fault(handler, method, name):
        count["requests"] += 1
        if count["requests"] == number:
            if when == "body":
                read, handler.rfile.read = handler.rfile.read, lambda length: read(length // 2)
            if when == "after":
                handler.after = process.kill
            else:
                process.kill()

    server.fault = fault
    go(process)
    process.wait(60)
    time.sleep(0.05)  # for what the server has begun
    server.fault = None


REQUESTS = 14  # of one upload: the format, the manifest, three files, one in two parts, manifest and entry
ALL_KILLS = [(number, when) for number in range(1, REQUESTS + 1) for when in ("before", "body", "after")]
FEW_KILLS = [(10, "body"), (13, "before"), (14, "after")]


@pytest.mark.parametrize(
    "kills", [FEW_KILLS, pytest.param(ALL_KILLS, marks=pytest.mark.slow)], ids=["few", "at every request"]
)
def test_an_upload_that_is_killed_leaves_nothing_partial_and_can_be_done_again(
    server, signer, tmp_path, survivor, kills
):
    for number, when in kills:
        shutil.rmtree(server.root / BUCKET / PREFIX, ignore_errors=True)
        home = tmp_path / f"{number}-{when}"
        process = writer(home, "text")
        killed_at(server, process, number, when)
        assert process.returncode == -signal.SIGKILL or (number, when) == (REQUESTS, "after")
        assert_nothing_partial(server, signer)
    survivor(home, "text")


@pytest.mark.slow
def test_an_upload_that_is_killed_at_any_time_leaves_nothing_partial(server, signer, tmp_path, survivor):
    rng = random.Random(0)
    for number in range(50):
        shutil.rmtree(server.root / BUCKET / PREFIX, ignore_errors=True)
        process = writer(home := tmp_path / f"{number}", f"text {number}")
        go(process)
        time.sleep(rng.uniform(0, 0.5))
        process.kill()
        process.wait(60)
        time.sleep(0.05)  # for what the server has begun
        assert_nothing_partial(server, signer)
        if number % 10 == 9:
            survivor(home, f"text {number}")


def test_of_16_writers_one_wins_and_all_have_its_entry(server, signer):
    stands = {}
    writers = []
    for i in range(16):
        keep = lambda stage, key, envelope, i=i: stands.update({i: envelope})  # noqa: E731
        uploads = Uploads(bucket_of(ADDRESS), signer, {signer.id}, set(), keep)
        writers.append((uploads, Entry(KEY, {"stage": STAGE}, f"{i:064x}", "onnx", {}, 0.5)))
    for uploads, entry in writers:
        uploads.add(entry, None, [])
    for uploads, _ in writers:
        uploads.finish("here")
    (path,) = server.files("actions")
    assert path.name == f"{KEY}.json"
    assert server.count("PUT", action_name(STAGE, KEY)) == 16
    assert set(stands.values()) == {path.read_text()}
    assert len(stands) == 16


@pytest.mark.slow
def test_of_16_processes_that_put_other_content_there_one_wins(server, signer, tmp_path, survivor):
    processes = [writer(tmp_path / f"home{i}", f"text {i}") for i in range(16)]
    for process in processes:
        go(process)
    assert [process.wait(120) for process in processes] == [0] * 16
    assert assert_nothing_partial(server, signer) == 1
    won = server.files("actions")[0].read_bytes()
    for i in range(16):
        kept = next((tmp_path / f"home{i}" / "remote").rglob(f"actions/{STAGE}/{KEY}.json"))
        assert json.loads(kept.read_bytes()) == json.loads(won)


def test_two_machines_that_finish_at_once_both_deliver_and_agree_from_then_on(server, signer, tmp_path):
    one, two = (Machine(tmp_path / name, signer) for name in ("one", "two"))
    for machine in (one, two):
        machine.stages["export"] = Random(machine.log)
    one.change("export", hook=lambda inputs: two.run())  # in the middle of the other's
    one.run()
    (entry,) = (verified(p.read_bytes(), p.stem, {signer.id}) for p in server.files(f"actions/{name_of(Random)}"))
    assert entry.digest == two.object_of("export").name
    third = Machine(tmp_path / "third", signer)
    third.stages["export"] = Random(third.log)
    third.run()
    assert third.ran() == ["save"]
