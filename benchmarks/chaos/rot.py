"""Every stored file of a finished run, damaged in every way: `rot/actions/upper/3f2a….json/flip`."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.chaos import forked, invariants, scenes
from benchmarks.chaos.scenes import Scene, expected
from benchmarks.chaos.toy import Job, stages


def _flip(path: Path) -> None:
    """One bit, with the time of the last change set back."""
    before, content = path.stat(), bytearray(path.read_bytes())
    if content:
        content[len(content) // 2] ^= 1
        _write(path, bytes(content))
    while path.stat().st_ctime_ns == before.st_ctime_ns and content:  # a clock of few ticks
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _write(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


def _cut(path: Path) -> None:
    _write(path, path.read_bytes()[: path.stat().st_size // 2])


def _empty(path: Path) -> None:
    _write(path, b"")


def _longer(path: Path) -> None:
    _write(path, path.read_bytes() + b"\0")


def _instead(path: Path, make: Callable[[Path], None]) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    make(path)


def _full_folder(path: Path) -> None:
    path.mkdir()
    (path / "file").write_text("")


DAMAGES: dict[str, Callable[[Path], None]] = {
    "flip": _flip,
    "cut": _cut,
    "empty": _empty,
    "longer": _longer,
    "removed": partial(_instead, make=lambda path: None),
    "folder": partial(_instead, make=Path.mkdir),
    "full-folder": partial(_instead, make=_full_folder),
    "dangling-link": partial(_instead, make=lambda path: path.symlink_to("nowhere")),
    "link-to-itself": partial(_instead, make=lambda path: path.symlink_to(path.name)),
    "link-elsewhere": partial(_instead, make=lambda path: path.symlink_to("/etc/passwd")),
    "pipe": partial(_instead, make=os.mkfifo),
}
FINISHED = Scene({"out": "after"})
OF_FOLDERS = ("removed", "dangling-link", "link-to-itself", "pipe")
DIGEST = 12  # so much of one is in a name


def names(share: float, rng: random.Random) -> list[str]:
    """Every damage of every file, and some of every folder."""
    with scenes.folder() as home:
        FINISHED.set(home)
        chosen = [
            f"rot/{_short(path.relative_to(home / 'store'))}/{damage}"
            for path in sorted((home / "store").rglob("*"))
            for damage in (OF_FOLDERS if path.is_dir() else DAMAGES)
        ]
    return rng.sample(chosen, min(len(chosen), round(share * len(chosen)) or 1))


def _short(path: Path) -> str:
    return "/".join(part[:DIGEST] + part[64:] if len(part) >= 64 else part for part in path.parts)


def attempt(name: str, home: Path) -> tuple[bool, list[str]]:
    """Whether there was what is to be damaged, and what is wrong."""
    _, _, rest = name.partition("/")
    short, _, damage = rest.rpartition("/")
    FINISHED.set(home)
    matches = [p for p in (home / "store").rglob("*") if _short(p.relative_to(home / "store")) == short]
    if not matches:
        return False, []
    DAMAGES[damage](matches[0])
    job = Job(home)
    ended = forked.run(job.run)
    if ended.status is None:
        return True, ["it hung"]
    wrong = invariants.in_words(ended.result, home, stages(""))
    wrong += invariants.output_is(job.delivered, [expected("after")])  # what was delivered before, or anew
    return True, wrong + forked.leftovers()
