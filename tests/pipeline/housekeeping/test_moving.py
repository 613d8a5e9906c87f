"""housekeeping/moving.py: each result is whole in one of the two places at any moment."""

import os
import signal
import time
from pathlib import Path

import pytest

from pipeline.artifact import Artifact
from pipeline.housekeeping import moving, pins
from pipeline.store import State, Store, use
from tests.pipeline.conftest import ONNX, child, flip
from tests.pipeline.housekeeping.conftest import DAY, digests, entries, look, put


@pytest.fixture(params=["one disk", "two disks"])
def disks(request, monkeypatch):
    """Renames between stores work, or are refused as between two file systems."""
    if request.param == "two disks":
        real = Path.rename

        def rename(self, target):
            if "staging" not in self.parts and self.parts[-2] != "staging" and Path(target).parts[-3] == "objects":
                raise OSError(18, os.strerror(18))
            return real(self, target)

        monkeypatch.setattr(Path, "rename", rename)
    return request.param


def move(store, to, progress=lambda done, total: None):
    return moving.move(store, look(store), to, progress)


def test_results_entries_pins_and_uses_are_in_the_new_place_and_the_old_is_gone(store, disks, tmp_path):
    one = put(store, "one", days=5)
    with store.staging([one]) as folder:
        os.link(store.objects.folder(one) / ONNX.file, folder / ONNX.file)
        two = store.publish(Artifact(ONNX, folder, facts={"other": 1}), [one]).digest
    store.name([one], "net", "onnx")
    os.utime(store.root / use.PLACE / one, (0, time.time() - 5 * DAY))
    pins.add(store.root, "a run", [two])
    to = Store(tmp_path / "new")
    done = move(store, to)
    assert (done.results, done.left, done.emptied, store.root.exists()) == (2, [], True, False)
    assert [to.state(d, thorough=True) for d in (one, two)] == [State.PRESENT] * 2
    inodes = {(to.objects.folder(d) / ONNX.file).stat().st_ino for d in (one, two)}
    assert (len(inodes), entries(to), pins.digests(to.root)) == (1, 1, {two})
    (moved,) = [r for r in look(to).results if r.digest == one]
    assert moved.names == [("net", "onnx")]
    assert abs(moved.used + 5 * DAY - time.time()) < 60


def test_what_a_run_uses_stays_with_its_entry_and_goes_the_next_time(store, disks, tmp_path):
    used, free = put(store, "used"), put(store, "free")
    to = Store(tmp_path / "new")
    with store.keeping():
        store.state(used)
        done = move(Store(store.root), to)
    assert ([(r.digest, why) for r, why in done.left], digests(store)) == ([(used, "a run uses it")], {used})
    assert (entries(store), entries(to), digests(to)) == (1, 2, {free})
    assert move(Store(store.root), to).emptied
    assert digests(to) == {used, free}


def test_damage_is_not_moved_by_a_copy(store, disks, tmp_path):
    bad = put(store, "bad")
    flip(store.objects.folder(bad) / ONNX.file)
    to = Store(tmp_path / "new")
    done = move(store, to)
    if disks == "two disks":
        assert ([r.digest for r, _ in done.left], digests(to)) == ([bad], set())
    else:
        assert to.state(bad, thorough=True) is State.DAMAGED


@pytest.mark.parametrize("moment", range(1, 12))
def test_a_kill_at_any_moment_loses_nothing_and_the_same_command_goes_on(store, disks, tmp_path, monkeypatch, moment):
    all_of_them = {put(store, str(n)) for n in range(2)}
    to = Store(tmp_path / "new")

    def die():
        count = []

        def counting(name, real):
            def call(*args, **kwargs):
                count.append(name)
                if len(count) == moment:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **kwargs)

            return call

        for name in ("rename", "unlink", "replace", "rmdir"):
            monkeypatch.setattr(Path, name, counting(name, getattr(Path, name)))
        move(store, to)

    process = child(die)
    process.start()
    process.join()
    again, there = Store(store.root), Store(to.root)
    with again.in_use(), there.in_use():
        for digest in all_of_them:
            states = {again.state(digest, thorough=True), there.state(digest, thorough=True)}
            assert State.PRESENT in states
            assert State.DAMAGED not in states
    move(Store(store.root), Store(to.root))
    assert digests(to) == all_of_them
    assert entries(to) == 2
    assert not list((to.root / "staging").iterdir())
