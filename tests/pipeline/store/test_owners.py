"""Several users, one store: whose results are hits, what of others is passed over, and who may write where.

Two real users are played by processes that give up root's rights; elsewhere these tests are skipped.
"""

import json
import multiprocessing
import os
import shutil
import stat
import tempfile
import traceback
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.artifact import Artifact
from pipeline.errors import ConfigError
from pipeline.machine.world import ThisMachine
from pipeline.planning import plan
from pipeline.record import lineage
from pipeline.running.runner import Runner
from pipeline.store import Damaged, State, Store, Trust, owners
from pipeline.store.files import sha256, stamp
from pipeline.store.root import Root
from tests.pipeline.conftest import ABOUT, STORED, Dock, Quiet, flip, how
from tests.pipeline.store.test_store import entry_of, publish

ANA, BOB, TEAM = 12345, 12346, 12347
KEY = "0a" * 32
two_users = pytest.mark.skipif(os.geteuid() != 0, reason="two users are played by root alone")


def as_user(uid, act, *, umask=0o022):
    """The result of a function, plain data, in a process of another user of the team."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)

    def run():
        try:
            os.setgroups([TEAM])
            os.setgid(uid)
            os.setuid(uid)
            os.umask(umask)
            theirs.send((True, act()))
        except BaseException:
            theirs.send((False, traceback.format_exc()))
        os._exit(0)

    process = context.Process(target=run)
    process.start()
    done, result = ours.recv()
    process.join()
    assert done, result
    return result


@pytest.fixture
def home(monkeypatch):
    """A folder with a store's root that the team may write to, which makes folders of the team's.

    Not pytest's own: no other user gets into that.
    """
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    # Whatever a run imports and reads of the installation is at hand before root's rights are gone.
    version = lineage.own_version()
    monkeypatch.setattr(lineage, "own_version", lambda: version)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        home.chmod(0o755)
        (home / "first").mkdir()
        Dock(home / "first").run()
        (home / "store").mkdir()
        os.chown(home / "store", 0, TEAM)
        (home / "store").chmod(0o2775)
        for uid in (ANA, BOB):
            (home / str(uid)).mkdir()
            os.chown(home / str(uid), uid, uid)
        yield home


def running(home, uid, named=(), store=(), **changes):
    """Runs a graph of fakes as a user, in a folder of their own; how each stage came to be."""

    def act():
        dock = Dock(home)
        dock.log, dock.output = home / str(uid) / "log", home / str(uid) / "out"
        dock.stages = {n: replace(s, log=dock.log, **changes.get(n, {})) for n, s in dock.stages.items()}
        own = Store(*(store or [home / "store"]), trust=Trust.of(named))
        world = ThisMachine(own.root / "facts", may_fetch=True)
        return how(Runner(dock.nodes(), own, world, dock.output, Quiet(), ABOUT).run())

    return act


BUILT = dict.fromkeys(STORED, "built")
HIT = dict.fromkeys(STORED, "hit")


def stored(results):
    """How each stored stage came to be."""
    return {name: results[name] for name in STORED}


@two_users
@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077], ids=oct)
def test_two_users_of_one_store_build_hit_and_build_again_whatever_their_umask(home, umask):
    assert stored(as_user(ANA, running(home, ANA), umask=umask)) == BUILT
    assert stored(as_user(BOB, running(home, BOB, [f"user:{ANA}"]), umask=umask)) == HIT
    # A miss, though ana made every folder.
    mine = running(home, BOB, [f"user:{ANA}"], export={"text": "opset 20"})
    assert as_user(BOB, mine, umask=umask)["export"] == "built"
    folders = [p for p in (home / "store").rglob("*") if p.is_dir() and "objects" not in p.parts]
    assert {(stat.S_IMODE(p.stat().st_mode), p.stat().st_gid) for p in folders} == {(0o2775, TEAM)}
    for path in (home / "store" / "objects").rglob("*"):
        assert os.access(path, os.R_OK)
        assert path.stat().st_mode & 0o044 == 0o044


@two_users
def test_forged_results_of_another_owner_are_no_hits_and_harm_neither(home, caplog):
    """Attack A2: right keys, wrong content, published by the store's own way."""
    assert stored(as_user(ANA, running(home, ANA))) == BUILT
    for path in (home / "store" / "actions").glob("*/*.json"):
        forged = path.read_text().replace('"seconds"', '"canary": 1, "seconds"')
        path.unlink()
        as_user(BOB, lambda path=path, forged=forged: path.write_text(forged) and None)
    before = {p: p.read_bytes() for p in (home / "store" / "actions").rglob("*.json")}
    assert stored(as_user(ANA, running(home, ANA))) == BUILT
    assert stored(as_user(ANA, running(home, ANA))) == HIT
    assert {p: p.read_bytes() for p in before} == before


def test_what_was_passed_over_is_told_once_with_what_to_type(dock, caplog):
    dock.run()
    for path in (dock.home / "store").glob("actions/*/*.json"):
        os.chown(path, ANA, -1) if os.geteuid() == 0 else path.chmod(0o666)
    caplog.clear()
    dock.run()
    (caution,) = [m for m in caplog.messages if "not trusted" in m]
    if os.geteuid() == 0:
        # Later ones have the digest of a result that is passed over in their keys.
        assert "passed over: 1 of 12345\n" in caution or "passed over: 2 of 12345\n" in caution
        assert f"'trust=[user:{ANA}]'" in caution


@two_users
def test_each_has_an_entry_of_their_own_and_neither_reads_the_others(home):
    store = Store(home / "store")
    digests = {uid: as_user(uid, lambda uid=uid: _published(home, str(uid))) for uid in (ANA, BOB)}
    for uid in (ANA, BOB):
        assert as_user(uid, lambda: _digest_of_entry(home)) == digests[uid]
    assert as_user(BOB, lambda: _digest_of_entry(home, f"user:{ANA}")) == digests[BOB]
    assert _digest_of_entry(home) is None
    assert _digest_of_entry(home, f"user:{BOB}") == digests[BOB]
    assert _digest_of_entry(home, f"user:{ANA}", f"user:{BOB}") == digests[ANA]
    names = sorted(p.name for p in (store.root / "actions").glob("*/*"))
    assert names == sorted([f"{KEY}.json", f"{KEY}.{BOB}.json"])


def _published(home, content, *named):
    store = Store(home / "store", trust=Trust.of(named))
    artifact = publish(store, content)
    return store.record(entry_of(artifact, KEY)).digest


def _digest_of_entry(home, *named):
    entry = Store(home / "store", trust=Trust.of(named)).actions.find("stages.export.Export", KEY)
    return entry and entry.digest


@two_users
def test_an_equal_object_of_another_owner_is_not_what_is_read(home):
    digest = as_user(ANA, lambda: _published(home, "equal"))
    assert as_user(BOB, lambda: _published(home, "equal")) == digest
    folders = {p.name: p.stat().st_uid for p in (home / "store" / "objects" / digest[:2]).iterdir() if p.is_dir()}
    assert folders == {digest: ANA, f"{digest}.{BOB}": BOB}
    assert as_user(BOB, lambda: str(Store(home / "store").open(digest).folder)).endswith(f".{BOB}")
    assert as_user(ANA, lambda: str(Store(home / "store").open(digest).folder)).endswith(digest)


@two_users
def test_a_member_of_a_group_that_is_named_is_trusted(home, monkeypatch):
    monkeypatch.setattr(owners, "_groups_of", lambda uid: frozenset({TEAM}) if uid == ANA else frozenset())
    mine = {uid: as_user(uid, lambda uid=uid: _published(home, str(uid))) for uid in (BOB, ANA)}
    assert _digest_of_entry(home, f"group:{TEAM}") == mine[ANA]
    assert _digest_of_entry(home, "group:999999") is None


def test_the_groups_of_a_user_are_those_of_the_system():
    assert 0 in owners._groups_of(0)
    assert owners._groups_of(ANA) == frozenset()  # whom no machine knows


def test_root_is_trusted_by_others_only_when_named(tmp_path):
    at = tmp_path.stat()
    assert Trust(uid=at.st_uid).covers(at)
    assert not Trust(uid=at.st_uid + 1).covers(at)
    assert Trust(uid=at.st_uid + 1, users=frozenset({at.st_uid})).covers(at)


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666], ids=oct)
def test_an_entry_that_others_could_have_written_is_none_and_is_made_anew(store, mode):
    """An attack: a file of the victim's, open to a group, with another's words in it."""
    artifact = publish(store)
    store.record(entry_of(artifact))
    (path,) = store.root.glob("actions/*/*.json")
    path.chmod(mode)
    assert store.actions.find("stages.export.Export", KEY) is None
    assert store.trust.summary().startswith("results in the store are not trusted and are passed over: 1 of yours")
    assert store.why_missed(entry_of(artifact).key_document)
    store.record(entry_of(artifact))
    assert store.actions.find("stages.export.Export", KEY) == entry_of(artifact)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o077], ids=oct)
def test_no_entry_is_ever_open_to_others_for_writing(store, umask, monkeypatch):
    modes = []
    real = os.fchmod
    store.root.chmod(0o2777)
    before = os.umask(umask)
    try:
        artifact = publish(store)
        monkeypatch.setattr(os, "fchmod", lambda fd, mode: (modes.append(os.fstat(fd).st_mode & 0o777), real(fd, mode)))
        store.record(entry_of(artifact))
    finally:
        os.umask(before)
    assert set(modes) == {0o600 & ~umask}
    (path,) = store.root.glob("actions/*/*.json")
    assert path.stat().st_mode & 0o777 == 0o644


def test_an_entry_of_the_users_under_another_key_is_none(store):
    """An attack: a user who may write to a folder can give the victim's file another name."""
    store.record(entry_of(publish(store)))
    (path,) = store.root.glob("actions/*/*.json")
    os.link(path, path.with_name(f"{'0b' * 32}.json"))
    assert store.actions.find("stages.export.Export", "0b" * 32) is None


def test_a_manifest_that_others_wrote_says_nothing(store):
    """An attack: what a record says of the files of an artifact comes from the manifest beside it."""
    artifact = publish(store)
    manifest = artifact.folder.with_name(f"{artifact.digest}.json")
    listed = json.loads(manifest.read_text())
    manifest.write_text(json.dumps([{**f, "sha256": "0" * 64} for f in listed]))
    with pytest.raises(Damaged):
        store.files(artifact.digest)
    assert store.state(artifact.digest) is State.PRESENT  # which hashes the files
    assert [vars(f) for f in store.files(artifact.digest)] == listed


@two_users
def test_what_another_noted_of_a_file_is_not_believed(home):
    """An attack: a file's noted digest is what keys stand on, so a wrong one would pass an old result for a new one."""
    weights = home / "weights.pth"
    weights.write_text("new")
    machine = ThisMachine(Store(home / "store").root / "facts", may_fetch=True)
    memo = machine._memo("digest", str(weights))
    forged = {"path": str(weights), "stamp": stamp(weights), "sha256": "0" * 64}
    Root(home / "store").write(memo, forged)
    assert machine.digest(weights) == "0" * 64  # as it would be if it were one's own

    def forge():
        memo.unlink()
        memo.write_text(json.dumps(forged))
        memo.chmod(0o644)

    as_user(BOB, forge)
    assert machine.digest(weights) == sha256(weights)


@two_users
def test_damage_that_is_anothers_is_passed_over_and_built_beside_it(home, caplog):
    as_user(ANA, running(home, ANA))
    (entry,) = (home / "store" / "actions").glob("compile/*.json")
    digest = json.loads(entry.read_text())["digest"]
    flip(home / "store" / "objects" / digest[:2] / digest / "model.bin")

    def states():
        store = Store(home / "store", trust=Trust.of([f"user:{ANA}"]))
        return store.state(digest), store.state(digest), sorted(p.name for p in (home / "store").glob("quarantine/*"))

    assert as_user(BOB, states) == (State.DAMAGED, State.ABSENT, [])
    built = as_user(BOB, running(home, BOB, [f"user:{ANA}"]))
    assert stored(built) == {**HIT, "compile": "built"}
    assert stored(as_user(BOB, running(home, BOB, [f"user:{ANA}"]))) == HIT
    assert stored(as_user(ANA, running(home, ANA))) == {**HIT, "compile": "built"}  # who sets it aside


@two_users
@pytest.mark.parametrize("read_only", [False, True])
def test_a_store_below_is_looked_into_and_never_written_to(home, read_only):
    as_user(ANA, running(home, ANA))
    theirs, mine = home / "store", home / str(BOB) / "store"
    if read_only:
        for path in (theirs, *theirs.rglob("*")):
            path.chmod(path.stat().st_mode & ~0o222)
    before = {p: p.stat().st_mtime_ns for p in theirs.rglob("*")}
    stores, trusted = [mine, theirs], [f"user:{ANA}"]
    assert stored(as_user(BOB, running(home, BOB, store=stores))) == BUILT  # nobody is trusted
    shutil.rmtree(mine)
    assert stored(as_user(BOB, running(home, BOB, trusted, stores))) == HIT
    assert not [*mine.glob("objects/*/*/")]
    changed = running(home, BOB, trusted, stores, tidy={"text": "changed"})
    assert stored(as_user(BOB, changed)) == {**HIT, "tidy": "built", "compile": "built"}
    assert {p: p.stat().st_mtime_ns for p in theirs.rglob("*")} == before
    assert stored(as_user(BOB, running(home, BOB, store=[theirs] if read_only else [mine], named=trusted)))


def test_damage_in_a_store_below_is_left_there_and_built_above(tmp_path, dock):
    dock.run()
    below, above = dock.home / "store", tmp_path / "mine"
    damaged = dock.object_of("compile")
    flip(damaged / "model.bin")
    store = Store(above, below)
    assert store.state(damaged.name) is State.DAMAGED
    assert damaged.is_dir()
    world = ThisMachine(above / "facts", may_fetch=True)
    result = Runner(dock.nodes(), store, world, dock.output, Quiet(), ABOUT).run()
    assert stored(how(result)) == {**HIT, "compile": "built"}
    assert store.objects.folder(damaged.name).is_relative_to(above)


def test_a_store_below_that_is_none_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"theirs is no store: there is no format\.json"):
        Store(tmp_path / "mine", tmp_path / "theirs")
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize("content", [b"", b"{", b'{"format": 1', b"\xff\xfe", b"[" * 100_000], ids=repr)
def test_a_torn_mark_is_told_and_left(tmp_path, content):
    marker = tmp_path / "format.json"
    marker.write_bytes(content)
    for stores in ([tmp_path], [tmp_path / "mine", tmp_path]):
        with pytest.raises(ConfigError, match=r"format\.json is torn"):
            Store(*stores)
    assert marker.read_bytes() == content


@two_users
def test_a_mark_that_cannot_be_read_is_told_and_never_replaced(home):
    (home / "store" / "format.json").write_text('{"format": 9}')
    (home / "store" / "format.json").chmod(0o600)

    def code():
        with pytest.raises(ConfigError, match="cannot be read: Permission denied") as caught:
            Store(home / "store")
        return caught.value.exit_code

    assert as_user(ANA, code) == 2
    assert (home / "store" / "format.json").read_text() == '{"format": 9}'


def test_a_plan_says_whose_result_was_passed_over(dock):
    dock.run()
    entry = next((dock.home / "store").glob("actions/record/*.json"))
    entry.chmod(0o666)
    steps = plan.make(dock.nodes(), dock.store, dock.world, damaged=set(), explain=True)
    assert next(s.why for s in steps if s.name == "record") == "there is one, which others could have written to"


def test_a_run_json_is_known_by_its_content_and_its_owner(store):
    run = {"record": {}, "folder": "/here", "config": {"b": 1, "a": [None, 1.5]}}
    assert not store.wrote(run)
    store.note_run(run)
    assert store.wrote(json.loads(json.dumps(run)))
    assert not store.wrote(run | {"folder": "/there"})
    (note,) = (store.root / "runs").iterdir()
    # An attack: the note of one run under the name of another's.
    os.link(note, store._run(run | {"folder": "/there"}))
    assert not store.wrote(run | {"folder": "/there"})
    if os.geteuid() == 0:
        os.chown(note, ANA, -1)
        assert not Store(store.root, trust=Trust.of([f"user:{ANA}"])).wrote(run)


def test_a_file_that_cannot_be_linked_is_copied(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "weights").write_text("w")
    artifact = Artifact("onnx", tmp_path / "a")
    artifact.share("weights", tmp_path)
    assert (tmp_path / "weights").stat().st_nlink == 2
    (tmp_path / "weights").unlink()
    monkeypatch.setattr(os, "link", lambda *a: (_ for _ in ()).throw(PermissionError(1, "protected_hardlinks")))
    artifact.share("weights", tmp_path)
    assert (tmp_path / "weights").stat().st_nlink == 1


def test_a_file_system_that_says_all_is_anothers_is_told(tmp_path):
    store = Store(tmp_path / "store", trust=Trust(uid=tmp_path.stat().st_uid + 1))
    with pytest.raises(ConfigError, match="does not say that what this user writes there is theirs alone") as caught:
        store.record(entry_of(publish(store)))
    assert f"trust=[user:{owners.user_name(tmp_path.stat().st_uid)}]" in caught.value.problems[0].command
