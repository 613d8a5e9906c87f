"""Runs that crash, are killed or race each other leave a store that is whole, and agree on what is in it."""

import errno
import multiprocessing
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from pipeline.errors import StageError
from pipeline.store import Lock
from tests.pipeline.conftest import (
    ALL,
    CRASHED,
    STORED,
    Capture,
    Compile,
    Dock,
    ExportCaptured,
    Load,
    Random,
    Trim,
    child,
    digests,
    exit_code,
    raising,
    without_record,
)

# What publishing is made of: each call is a step before which a machine may stop, or the disk turn out to be full.
NEED_SPACE = [(os, "fsync"), (os, "link"), (Path, "rename"), (Path, "replace"), (Path, "mkdir")]
STEPS = [*NEED_SPACE, (Path, "chmod"), (Path, "unlink")]


def interpose(steps, step, act, patch=setattr):
    """Counts the calls that change what is on the disk, and acts before the nth and all that follow."""
    done = iter(range(1, step))

    def instead_of(call):
        def wrapper(*args, **kwargs):
            if next(done, None) is None:
                act()
            return call(*args, **kwargs)

        return wrapper

    for owner, name in steps:
        patch(owner, name, instead_of(getattr(owner, name)))


def small(home):
    """A short graph that keeps a result in memory, publishes one, shares a file of it in the next, and delivers."""
    home.mkdir()
    dock = Dock(home)
    dock.stages = {
        "load": dock.stages["load"],
        "capture": Capture(dock.log),
        "export": ExportCaptured(dock.log, "opset 18"),
        "trim": Trim(dock.log),
        "save": dock.stages["save"],
    }
    return dock


def outcome(dock):
    """The result of a run: digests or the error, so that the parent never waits in vain."""
    try:
        return digests(dock.run())
    except Exception as e:
        return e


def crash(dock, step):
    interpose(STEPS, step, lambda: os._exit(CRASHED))
    dock.run()


# Every ninth step; all of them in the slow suite.
EVERY = pytest.mark.parametrize("every", [9, pytest.param(1, marks=pytest.mark.slow)])


@EVERY
def test_a_crash_at_any_step_leaves_a_store_from_which_a_rerun_works(tmp_path, monkeypatch, every):
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    whole = digests(small(tmp_path / "whole").run())
    for step in range(1, 200, every):
        dock = small(tmp_path / f"{step}")
        code = exit_code(lambda: crash(dock, step))  # noqa: B023
        again = dock.run()
        assert digests(again) == whole, f"after a crash before step {step}"
        assert without_record(dock.output / "model.onnx") == "trimmed graph of net, opset 18"
        dock.assert_sound()
        if code != CRASHED:
            break
    assert code == 0
    assert step > 20


@EVERY
def test_a_full_disk_at_any_step_is_told_and_leaves_a_store_from_which_a_rerun_works(tmp_path, monkeypatch, every):
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    full = raising(OSError(errno.ENOSPC, "no space left"))
    for step in range(1, 200, every):
        dock = small(tmp_path / f"{step}")
        with monkeypatch.context() as patch:
            interpose(NEED_SPACE, step, full, patch.setattr)
            result = outcome(dock)
        dock.run()
        dock.assert_sound()
        if isinstance(result, dict):
            break
        assert isinstance(result, StageError), f"at step {step}: {result!r}"
        assert result.problems[0].command
    assert step > 20


def killed_while_building(dock, name, number):
    ready, started = os.pipe()

    def stop(inputs):
        os.write(started, b"x")
        signal.pause()

    dock.change(name, hook=stop)
    process = child(dock.run)
    process.start()
    os.read(ready, 1)
    os.kill(process.pid, number)
    process.join()
    dock.change(name, hook=lambda inputs: None)


@pytest.mark.parametrize("name", ALL)
def test_a_killed_run_is_taken_up_where_it_was(dock, name):
    killed_while_building(dock, name, signal.SIGKILL)
    before = dock.ran()
    dock.run()
    assert before[-1] == name
    finished = [n for n in before[:-1] if n in STORED]
    assert [n for n in dock.ran() if n in STORED] == STORED[len(finished) :]
    dock.assert_sound()


class Watch(Load):
    """The last stage of each plan: when it is planned, all others have been looked up."""

    def identity(self, world):
        with self.log.with_name("asked").open("a") as f:
            f.write(f"{os.getpid()}\n")
        return {}


def race(dock, processes):
    """Runs the graph in several processes; none finishes a stage before all have planned it."""
    plans = dock.home / "asked"
    dock.stages["watch"] = Watch(dock.log)

    def wait_for_all(inputs):
        # Each run plans once to tell it and once to act on it.
        while sum(times >= 2 for times in Counter(plans.read_text().split()).values()) < processes:
            time.sleep(0.01)

    dock.change("record", hook=wait_for_all)
    queue = multiprocessing.get_context("fork").SimpleQueue()
    racers = []
    for i in range(processes):
        racer = Dock(dock.home)
        racer.stages, racer.output = dock.stages, dock.home / f"out{i}"
        racers.append(child(lambda r=racer: queue.put(outcome(r))))
    for process in racers:
        process.start()
    results = [queue.get() for _ in racers]
    for process in racers:
        process.join()
    return results


@pytest.mark.parametrize("processes", [2, 8])
def test_runs_that_race_on_an_empty_store_build_each_stage_once_and_agree(dock, processes):
    results = race(dock, processes)
    assert results == [results[0]] * processes
    assert sorted(dock.ran()) == sorted([*ALL, *["save"] * (processes - 1)])
    assert len({(dock.home / f"out{i}" / "model.xml").read_text() for i in range(processes)}) == 1
    dock.assert_sound()


def test_runs_that_race_on_random_content_agree_on_the_first_writers(dock):
    dock.stages["export"] = Random(dock.log)
    results = race(dock, 3)
    assert results == [results[0]] * 3
    assert dock.ran().count("random") == 1


def test_a_run_without_locks_builds_twice_but_agrees(dock, monkeypatch):
    """A lock saves work and nothing else: where it does not exclude, the first writer still wins."""
    monkeypatch.setattr("pipeline.store.locks.Lock.try_acquire", lambda lock: True)
    monkeypatch.setattr("pipeline.store.Store.sweep", lambda store: None)
    dock.stages["export"] = Random(dock.log)
    barrier = multiprocessing.get_context("fork").Barrier(2)
    dock.change("export", hook=lambda inputs: barrier.wait())
    results = race(dock, 2)
    assert dock.ran().count("random") == 2
    assert results == [results[0]] * 2
    dock.assert_sound()


def test_who_loses_a_race_goes_on_with_what_the_winner_recorded(dock):
    winner = Dock(dock.home)
    winner.stages = {"load": dock.stages["load"], "export": Random(dock.log)}

    def overtake(inputs):
        for lock in (dock.home / "store" / "locks").glob("[0-9a-f]*.lock"):
            lock.unlink()  # as on a file system where a lock does not exclude
        winner.run()

    dock.stages = winner.stages | {"export": Random(dock.log, hook=overtake), "compile": Compile(dock.log)}
    dock.run()
    won = (winner.object_of("export") / "model.onnx").read_text()
    assert (dock.object_of("compile") / "model.xml").read_text() == f"<net>{won}</net>"


def test_the_next_lock_is_taken_before_the_last_one_is_let_go(dock, monkeypatch):
    """So a run that waits stays behind the one that builds, which holds in memory what both would need."""
    events, take, let_go = [], Lock.try_acquire, Lock.release
    monkeypatch.setattr(Lock, "try_acquire", lambda lock: events.append(f"take {lock._what}") or take(lock))
    monkeypatch.setattr(Lock, "release", lambda lock: events.append(f"let go {lock._what}") or let_go(lock))
    dock.run()
    assert [e for e in events if "build" not in e and "run" not in e] == [
        "take record",
        "take export",
        "let go record",
        "take tidy",
        "let go export",
        "take compile",
        "let go tidy",
        "let go compile",
    ]
