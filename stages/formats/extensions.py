"""The setting `extensions`: operations that a runtime does not have by itself. What loads them is the runtime's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import Problem, listed
from pipeline.stage import Setting, World, digest_of

LIBRARY = (".so", ".dll", ".dylib")


def is_library(named: str) -> bool:
    """Whether an extension is a shared library rather than a dotted path."""
    return Path(named).suffix in LIBRARY


class Extensions(Setting):
    """Paths of libraries and dotted paths of Python classes, with operations that OpenVINO does not have by itself."""

    def problems(self, name: str, value: Sequence[str]) -> Iterable[Problem]:
        allowed = f"a library that ends in {listed(LIBRARY)}, or a dotted path"
        unknown = [named for named in value if not is_library(named) and "." not in named.strip(".")]
        return [Problem(f"{name} names '{named}'", allowed) for named in unknown]

    def files(self, value: Sequence[str]) -> Iterable[str]:
        return filter(is_library, value)

    def identity(self, name: str, value: Sequence[str], world: World) -> Any:
        def one(named: str) -> Any:
            if not is_library(named):
                return {"path": named, "code": dict(world.code(named))}
            file = Path(named).expanduser()
            return {"sha256": digest_of(file, world, f"{name}: {named}", command="an existing library")}

        return list(map(one, value))
