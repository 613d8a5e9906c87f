"""What a stage needs to know outside its settings: digests of files, identity of code, passing facts."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import importlib.machinery
import importlib.util
import json
import re
import time
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from pipeline import disk
from pipeline.errors import ConfigError
from pipeline.machine import gpu, processor
from pipeline.store.files import read_owned, sha256, stamp
from pipeline.store.owners import Trust
from pipeline.store.root import Root

# A file written so recently may be written again within the resolution of its timestamps.
SETTLED_SECONDS = 2.0


class ThisMachine:
    """The `pipeline.stage.World` of a run, with what it learned kept beside the store.

    Args:
        facts: Where to keep it.
        may_fetch: Whether files may be downloaded; False while only a plan is wanted.
    """

    def __init__(self, facts: Path, *, may_fetch: bool) -> None:
        self._facts = facts
        self._own = Trust()
        self.may_fetch = may_fetch

    def digest(self, path: Path) -> str:
        """The SHA-256 of a file, hashed again only when its stat changed. Raises OSError, for what is no file too."""
        path = path.resolve()
        if what := disk.special(path):  # reading it may never end
            raise OSError(errno.EINVAL, f"it is {what}, and no file", str(path))
        memo = self._memo("digest", str(path))
        now = stamp(path)
        memo_content = self._read(memo)
        if memo_content.get("stamp") == now and isinstance(memo_content.get("sha256"), str):
            return str(memo_content["sha256"])
        digest = sha256(path)
        written = path.stat()
        if time.time() - max(written.st_mtime, written.st_ctime) > SETTLED_SECONDS and stamp(path) == now:
            with contextlib.suppress(OSError):  # a memo that cannot be kept costs time and nothing else
                Root(self._facts).write(memo, {"path": str(path), "stamp": now, "sha256": digest})
        return digest

    def code(self, import_path: str) -> Mapping[str, str]:
        """A distribution's version where the code was installed, otherwise a digest of its source.

        The source of a package is every .py file in it; of a module, the one file. Packages that it imports in turn
        are not followed. Raises ConfigError.
        """
        return code_identity(import_path)

    def processor(self) -> Mapping[str, str]:
        """This machine's processor: its architecture, name and instruction sets."""
        return processor.describe()

    def gpu(self) -> Mapping[str, str]:
        """This machine's NVIDIA GPU: its name, driver and compute capability. Raises BackendMissing."""
        return gpu.describe()

    def cores(self) -> int:
        """How many logical cores this process may use."""
        return processor.cores()

    def recall(self, fact: str, max_age: float) -> str | None:
        """The value that `remember` noted, if it is not older than `max_age` seconds."""
        note = self._read(self._memo("passing", fact))
        if note.get("fact") != fact or not isinstance(note.get("at"), (int, float)) or "value" not in note:
            return None
        return str(note["value"]) if 0 <= time.time() - note["at"] <= max_age else None

    def remember(self, fact: str, value: str) -> None:
        """Notes a passing fact, if it can be."""
        with contextlib.suppress(OSError):
            Root(self._facts).write(self._memo("passing", fact), {"fact": fact, "at": time.time(), "value": value})

    def _read(self, memo: Path) -> Mapping[str, Any]:
        """The content of this user's memo; empty for another user's, who could thereby change what is built."""
        read, at = read_owned(memo)
        return read if isinstance(read, dict) and at is not None and self._own.covers(at) else {}

    def _memo(self, what: str, name: str) -> Path:
        mine = f"{self._own.uid} {name}"
        return self._facts / what / f"{hashlib.sha256(mine.encode()).hexdigest()[:32]}.json"


@functools.cache
def library_version(module: str) -> str:
    """The installed version of the distribution that a module comes from; "unknown" when none says."""
    try:
        # metadata.version() would parse the whole of a long file, mail headers and all, for this one line.
        if match := re.search(
            r"^Version: *(\S+)", metadata.distribution(module).read_text("METADATA") or "", re.MULTILINE
        ):
            return match[1]
        return metadata.version(module)
    except metadata.PackageNotFoundError:
        names = metadata.packages_distributions().get(module.partition(".")[0], ())
        return metadata.version(names[0]) if names else "unknown"


def is_installed(module: str) -> bool:
    """Whether a module can be found; looked up by its top-level package, so that nothing is imported."""
    return importlib.util.find_spec(module.partition(".")[0]) is not None


def lacking(module: str, parts: Iterable[str]) -> list[str]:
    """The submodules that an installed package does not have, looked up among its files without an import."""
    spec = importlib.util.find_spec(module)
    places = list(spec.submodule_search_locations or ()) if spec else []
    return [p for p in parts if importlib.machinery.PathFinder.find_spec(f"{module}.{p}", places) is None]


@functools.cache
def code_identity(import_path: str) -> Mapping[str, str]:
    """What identifies the code behind a dotted path, without importing it. Raises ConfigError."""
    top = import_path.partition(".")[0]
    spec = importlib.util.find_spec(top) if top.isidentifier() else None
    if spec is None:
        raise ConfigError(
            f"{import_path}: there is no module '{top}' to import",
            allowed="a dotted path such as my_package.net.Net, from an installed package or the current folder",
            command=f"python -c 'import {top}' from this folder, or PYTHONPATH=… when it is elsewhere",
        )
    origin = Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    roots = [Path(p) for p in spec.submodule_search_locations or ()]
    if version := _installed_version(top, origin or next(iter(roots), None)):
        return {"distribution": top, "version": version}
    sources = [(f, f.relative_to(root)) for root in roots for f in root.rglob("*.py")]
    if not roots and origin:
        sources = [(origin, Path(origin.name))]
    if not sources:
        return {"module": top, "version": library_version(top)}
    listed = sorted([name.as_posix(), sha256(f)] for f, name in sources)
    return {"module": top, "source": hashlib.sha256(json.dumps(listed).encode()).hexdigest()}


def _installed_version(top: str, origin: Path | None) -> str | None:
    """The version of the distribution that owns a module, unless its source lies elsewhere (an editable install)."""
    try:
        distribution = metadata.distribution(top)
    except metadata.PackageNotFoundError:
        return None
    where = Path(str(distribution.locate_file(""))).resolve()
    return distribution.version if origin and origin.resolve().is_relative_to(where) else None
