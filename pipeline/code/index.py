"""All files of `stages`, each read once and cached until it changes.

The cache lies beside Python's own bytecode, or in the user's cache where that folder cannot be written. A wheel brings
one ready-made, by the files' content.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.code import reading
from pipeline.code.reading import PACKAGE, Source

READY_MADE = "code.json"
# A file written so recently may be written again within the resolution of its timestamps.
SETTLED_SECONDS = 2.0


class Index:
    """The files of one folder that is imported as `stages`.

    Args:
        root: The folder.

    Attributes:
        sources: The source of each module, by its dotted name; a package by its own name.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._files = dict(_modules(root))
        self.sources = self._read()

    def file(self, module: str) -> Path:
        """The file of a module."""
        return self._files[module]

    def homes(self, name: str) -> list[str]:
        """The modules that have a class of this name."""
        return [m for m, source in self.sources.items() if name in source.classes]

    @functools.cached_property
    def formats(self) -> Mapping[str, tuple[str, Mapping[str, str]]]:
        """By kind of artifact, the room that has it and the file of each part."""
        return {
            kind: (module.rpartition(".")[0], parts)
            for module, source in sorted(self.sources.items())
            for kind, parts in source.formats.items()
        }

    def _read(self) -> dict[str, Source]:
        sources: dict[str, Source] = {}
        stamps: dict[str, list[int]] = {}
        cache = _cache(self.root)
        ready: Mapping[str, Any] | None = None
        changed = False
        now = time.time()
        for module, path in self._files.items():
            at = path.stat()
            stamps[module] = [at.st_size, at.st_mtime_ns, at.st_ino, at.st_ctime_ns]
            cached = cache.get(module)
            if cached is not None and cached["stamp"] == stamps[module]:
                sources[module] = _source(cached["source"])
                continue
            ready = _from_wheel(self.root) if ready is None else ready
            sources[module] = _ready(ready, path) or reading.read(path)
            changed |= now - max(at.st_mtime, at.st_ctime) > SETTLED_SECONDS
        if changed or cache.keys() - sources.keys():
            settled = {m: s for m, s in stamps.items() if now - max(s[1], s[3]) / 1e9 > SETTLED_SECONDS}
            _write_cache(self.root, {m: {"stamp": settled[m], "source": asdict(sources[m])} for m in settled})
        return sources


@functools.cache
def here() -> Index:
    """The index of the `stages` that this process imports."""
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    return Index(Path(spec.origin).parent)


def ready_made(root: Path) -> dict[str, Any]:
    """The cache that a wheel brings: each file by the SHA-256 of its content."""
    return {_sha256(path): asdict(reading.read(path)) for _, path in _modules(root)}


def _modules(root: Path) -> Iterator[tuple[str, Path]]:
    """Every module's dotted name and file, in the order of their names."""
    waiting = [(PACKAGE, str(root))]
    while waiting:
        package, folder = waiting.pop(0)
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                if entry.name.endswith(".py"):
                    name = entry.name[:-3]
                    yield (package if name == "__init__" else f"{package}.{name}"), Path(entry.path)
                elif entry.is_dir() and entry.name.isidentifier() and not entry.name.startswith("__"):
                    waiting.append((f"{package}.{entry.name}", entry.path))


def _places(root: Path) -> Iterator[Path]:
    """Where the cache may lie, the best place first."""
    yield Path(importlib.util.cache_from_source(str(root / "__init__.py"))).with_name(READY_MADE)
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
    yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "drydock" / f"code-{name}.json"


def _cache(root: Path) -> Mapping[str, Any]:
    for place in _places(root):
        if (read := _json(place)).get("reader") == _reader():
            return dict(read["modules"])
    return {}


def _write_cache(root: Path, modules: Mapping[str, Any]) -> None:
    """Writes the cache where that is possible; without a cache only time is lost."""
    for place in _places(root):
        beside = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}")
        with contextlib.suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps({"reader": _reader(), "modules": modules}))
            beside.replace(place)
            return
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


@functools.cache
def _reader() -> str:
    """The digest of the reader's own code: after a change, all files are read again."""
    return _sha256(Path(reading.__file__))[:16]


def _from_wheel(root: Path) -> Mapping[str, Any]:
    return _json(root / READY_MADE)


def _ready(ready: Mapping[str, Any], path: Path) -> Source | None:
    source = ready.get(_sha256(path)) if ready else None
    return None if source is None else _source(source)


def _source(fields: Mapping[str, Any]) -> Source:
    lists = {name: tuple(fields[name]) for name in ("data", "classes", "parts")}
    return Source(fields["digest"], tuple((m, n) for m, n in fields["references"]), formats=fields["formats"], **lists)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}
