"""The setting `extensions`: operations that a runtime lacks. Each runtime loads them itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import Problem, listed
from pipeline.stage import Setting, World, digest_of

LIBRARY = (".so", ".dll", ".dylib")


def is_library(extension: str) -> bool:
    """Whether an extension is a shared library rather than a dotted path."""
    return Path(extension).suffix in LIBRARY


class Extensions(Setting):
    """Paths of libraries and dotted paths of Python classes, with operations that OpenVINO lacks."""

    def problems(self, name: str, value: Sequence[str]) -> Iterable[Problem]:
        allowed = f"a library that ends in {listed(LIBRARY)}, or a dotted path"
        unknown = [extension for extension in value if not is_library(extension) and "." not in extension.strip(".")]
        return [Problem(f"{name} names '{entry}'", allowed) for entry in unknown]

    def files(self, value: Sequence[str]) -> Iterable[str]:
        return filter(is_library, value)

    def identity(self, name: str, value: Sequence[str], world: World) -> Any:
        def one(extension: str) -> Any:
            if not is_library(extension):
                return {"path": extension, "code": dict(world.code(extension))}
            file = Path(extension).expanduser()
            return {"sha256": digest_of(file, world, f"{name}: {extension}", command="an existing library")}

        return list(map(one, value))
