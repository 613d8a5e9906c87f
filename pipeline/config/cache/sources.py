"""The sources of a composition, by their stat: YAMLs, the folders with them, and the Python modules that read them.

The stat of a folder changes when a file in it appears or disappears, so a new option is noticed too.
"""

from __future__ import annotations

import os
import stat
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

# The largest number of sources. More of them means that a folder holds other things than configurations.
MOST = 3000
# Seconds by which a file must be older than the process that read it: file systems have coarse clocks.
MARGIN = 0.05
_IMPORTED = time.time()
_HERE = Path(__file__).resolve().parents[3]

Stat = list[int] | None


def now(searched: Sequence[Path], *, before: float) -> dict[str, Stat] | None:
    """The stat of each source; None when one is younger than `before`, or when there are too many.

    Args:
        searched: Folders of configurations; they need not exist.
        before: Seconds since the epoch.
    """
    stats: dict[str, Stat] = {}
    for path in _all(searched):
        if len(stats) > MOST:
            return None
        try:
            at = os.stat(path)  # noqa: PTH116 (hundreds of them, on each start)
        except FileNotFoundError:
            stats[path] = None
            continue
        except OSError:
            return None
        if at.st_ctime > before - MARGIN:
            return None
        stats[path] = _stat(at)
    return stats


def began() -> float:
    """When this process began, in seconds since the epoch: a file that is younger may differ from what was read."""
    now = time.time()
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])  # man 5 proc: starttime
        return now - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError, IndexError):  # no Linux
        return _IMPORTED


def unchanged(then: Mapping[str, Any]) -> bool:
    """Whether every source still has the same stat."""
    return all(_now(path) == at for path, at in then.items())


def _now(path: str) -> Stat:
    try:
        return _stat(os.stat(path))  # noqa: PTH116
    except (OSError, ValueError):
        return None


def _stat(at: os.stat_result) -> list[int]:
    if stat.S_ISDIR(at.st_mode):
        return [at.st_mtime_ns, at.st_ino]
    return [at.st_mtime_ns, at.st_ctime_ns, at.st_size, at.st_ino]


def _all(searched: Sequence[Path]) -> Iterator[str]:
    for folder in searched:
        yield from _below(str(folder))
    yield from _code()


def _below(folder: str) -> Iterator[str]:
    yield folder
    for at, folders, files in os.walk(folder, followlinks=True):
        yield from (os.path.join(at, name) for name in (*folders, *files) if name != "__pycache__")  # noqa: PTH118


def _code() -> Iterator[str]:
    """The imported modules that are not installed, and the folders of those that are: installing changes the folder."""
    installed = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    yield from (folder for folder in sorted(filter(None, installed)))
    yield from (str(path) for path in sorted((_HERE / "stages").glob("**/")) if path.name != "__pycache__")
    outside = tuple(f"{folder}{os.sep}" for folder in installed)
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if (
            file
            and file.endswith(".py")
            and (file.startswith(f"{_HERE}{os.sep}pipeline") or not file.startswith(outside))
        ):
            yield file
