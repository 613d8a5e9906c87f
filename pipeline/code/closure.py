"""The code behind one stage: the files that its imports lead to, and those of the formats that it receives and makes.

    check of an IR:  checking.check ─► reference.parity ─► formats.session ─ part("runtime") ─► openvino.runtime ─► …
                     data beside a file, such as operators.json, counts by its content

The digest contains the content of files, not their paths: a file may move or be renamed, and all results are hits.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from pipeline.code import index, reading
from pipeline.code.index import Index
from pipeline.code.reading import Source


def digest(module: str, kinds: Collection[str] = ()) -> str:
    """What identifies the code behind a module of ours, 32 hex digits.

    Args:
        module: Dotted name, such as "stages.onnx.simplify".
        kinds: The kinds of artifact that its stage receives and makes.
    """
    return _digest(index.here(), module, frozenset(map(str, kinds)))


def files(module: str, kinds: Collection[str] = ()) -> Mapping[str, str]:
    """The digest of every file behind a module, 12 hex digits, by the file's path below the folder of `stages`."""
    return _files(index.here(), module, frozenset(map(str, kinds)))


def digest_of_file(path: Path) -> str:
    """What identifies the code of `stages` that a file outside it uses; "" where it uses none."""
    return _digest_of_file(index.here(), path, path.stat().st_mtime_ns)


@functools.cache
def _digest(code: Index, module: str, kinds: frozenset[str]) -> str:
    return _joint_digest(code, _behind(code, [module], kinds))


@functools.cache
def _digest_of_file(code: Index, path: Path, written: int) -> str:
    source = reading.read(path)
    modules = [m for reference in source.references if (m := _target(code, *reference)[0])]
    behind = _behind(code, modules, frozenset()) if modules else set()
    return _joint_digest(code, behind) if behind else ""


@functools.cache
def _files(code: Index, module: str, kinds: frozenset[str]) -> Mapping[str, str]:
    digests: dict[str, str] = {}
    for name in _behind(code, [module], kinds):
        path, source = code.file(name), code.sources[name]
        digests[path.relative_to(code.root.parent).as_posix()] = source.digest[:12]
        for data in source.data:
            digests[(path.parent / data).relative_to(code.root.parent).as_posix()] = _content(path.parent / data)[:12]
    return dict(sorted(digests.items()))


def _behind(code: Index, modules: Collection[str], kinds: frozenset[str]) -> set[str]:
    """These modules, and all that they lead to by imports or by the formats of these kinds."""
    reached: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module in reached or module not in code.sources:
            continue
        reached.add(module)
        waiting += _imports(code, module)
        waiting += _parts(code, code.sources[module], kinds)
    return reached


@functools.cache
def _imports(code: Index, module: str) -> tuple[str, ...]:
    """The modules that one always needs: its package, which runs before it, and those that it names."""
    references = code.sources[module].references
    return (module.rpartition(".")[0], *(m for reference in references if (m := _target(code, *reference)[0])))


def _parts(code: Index, source: Source, kinds: frozenset[str]) -> Iterator[str]:
    for kind in sorted(kinds & code.formats.keys()):
        room, files = code.formats[kind]
        yield from (f"{room}.{files[part]}" for part in source.parts if part in files)


def _target(code: Index, module: str, name: str) -> tuple[str, str]:
    """The module that a reference leads to and what is taken from it; no module for a text that only looks like one."""
    inner = f"{module}.{name}" if name else module
    if inner in code.sources:
        return inner, ""
    return (module, name) if module in code.sources else ("", inner)


def _joint_digest(code: Index, modules: Collection[str]) -> str:
    """One digest of some modules, each with the targets of its references; no module's name counts."""
    entries = sorted({_entry(code, m) for m in modules})
    return hashlib.sha256("\n".join(entries).encode()).hexdigest()[:32]


@functools.cache
def _entry(code: Index, module: str) -> str:
    source = code.sources[module]
    targets = (_target(code, *reference) for reference in source.references)
    references = [[code.sources[m].digest if m else "", name] for m, name in targets]
    return json.dumps([source.digest, references, [_content(code.file(module).parent / d) for d in source.data]])


@functools.cache
def _content(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
