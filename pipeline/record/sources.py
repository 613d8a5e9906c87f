"""Which source files a stage's result is made by: its own, and those of its package that it imports, and so on.

A stage of ours is identified by its version, which people raise; this is for telling afterwards that a line changed
though none was raised.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
from collections.abc import Iterable
from pathlib import Path

from pipeline.store.files import sha256


def of(stages: Iterable[str]) -> dict[str, str]:
    """The SHA-256, 16 hex digits of it, of every source file behind some stage classes, by module.

    Args:
        stages: Dotted paths of classes.
    """
    return {m: sha256(f)[:16] for m in sorted(_behind(stages)) if (f := _file(m))}


def touched(stage: str, modules: Iterable[str]) -> list[str]:
    """Those of some modules that are behind a stage class."""
    return sorted(_behind([stage]) & set(modules))


def _behind(stages: Iterable[str]) -> set[str]:
    found: set[str] = set()
    waiting = [path.rpartition(".")[0] for path in stages]
    while waiting:
        module = waiting.pop()
        if module not in found and _file(module):
            found.add(module)
            waiting += _imported(module)
    return found


@functools.cache
def _imported(module: str) -> tuple[str, ...]:
    """The modules of the same top-level package that a module imports anywhere in it, or names in a text of its own."""
    path, top = _file(module), module.partition(".")[0]
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())) if path else ():
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and re.fullmatch(r"\w+(\.\w+)+", str(node.value)):
            names.add(str(node.value))
    return tuple(sorted(n for n in names if n.partition(".")[0] == top))


@functools.cache
def _file(module: str) -> Path | None:
    """The source of a module; None where there is none, as for a name that is something else in its package."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None
