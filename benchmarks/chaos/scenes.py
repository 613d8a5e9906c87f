"""What is there before a job that is struck: nothing, a store, an older delivery, another job, or damage."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.chaos import faults, forked, invariants
from benchmarks.chaos.toy import STORED, Job
from pipeline.store import Store

# In memory: a fault is tried every few milliseconds, and none of them is a power loss.
SCRATCH = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path(tempfile.gettempdir())


@dataclass(frozen=True)
class Scene:
    """Where a job begins.

    Args:
        jobs: Those that ran before, by the name of the output and what they said.
        spoil: What was done to the folder then; gives the digests that were damaged.
    """

    jobs: Mapping[str, str] = field(default_factory=dict)
    spoil: Callable[[Path], list[str]] = lambda home: []

    def set(self, home: Path) -> list[str]:
        """Sets the scene in a folder, and returns the digests that are damaged."""
        if self.jobs:
            _copy(finished(*self.jobs.items()), home)
            store = Store(home / "store")
            for digest in invariants.entries(store.root).values():
                store.state(digest)  # which takes note of what the copies' stamps are
        return self.spoil(home)


def undelivered(home: Path) -> list[str]:
    shutil.rmtree(home / "out")
    return []


def damaged(home: Path) -> list[str]:
    """Other bytes in the result that is delivered."""
    digest = invariants.entries(home / "store")[_entry(home, "upper")]
    file = home / "store" / "objects" / digest[:2] / digest / "model.onnx"
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    return [digest]


def _entry(home: Path, stage: str) -> str:
    assert stage in STORED
    return next(name for name in invariants.entries(home / "store") if name.startswith(f"{stage}/"))


SCENES = {
    "cold": Scene(),
    "warm": Scene({"out": "after"}, undelivered),
    "over": Scene({"out": "before"}),
    "second": Scene({"other": "before"}),
    "repair": Scene({"out": "after"}, damaged),
}


kept = contextlib.ExitStack()  # until the campaign ends


@functools.cache
def finished(*jobs: tuple[str, str]) -> Path:
    """A folder where some jobs have run, each the name of its output and what it said; to be copied."""
    home = kept.enter_context(folder())
    for output, text in jobs:
        ended = forked.run(Job(home, text, output).run)
        assert ended.result["code"] == 0, ended.result["told"]
    return home


def _copy(source: Path, target: Path) -> None:
    """Copies a folder with its hard links and modes."""
    names: dict[int, Path] = {}
    for path in sorted(source.rglob("*")):
        copy, at = target / path.relative_to(source), path.lstat()
        if path.is_dir():
            copy.mkdir()
        elif at.st_ino in names:
            os.link(names[at.st_ino], copy)
        else:
            names[at.st_ino] = copy
            shutil.copyfile(path, copy)
        copy.chmod(at.st_mode & 0o7777)


@functools.cache
def expected(text: str) -> invariants.Files:
    """What a job delivers where nothing goes wrong."""
    with folder() as home:
        outcome = forked.run(Job(home, text).run).result
        contents = invariants.delivered(home / "out")
    assert contents, outcome
    return contents


@functools.cache
def operations(scene: str) -> int:
    """How many file operations a job takes in a scene."""
    with folder() as home:
        SCENES[scene].set(home)
        return int(forked.run(functools.partial(counted, home)).result)


def counted(home: Path) -> int:
    injector = faults.Injector(home, faults.Fault())
    injector.arm()
    Job(home).run()
    return injector.count


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder for one trial, gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix="chaos-", dir=SCRATCH))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
