"""The operations that lowering the precision leaves alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated

from pipeline.artifact import Artifact
from pipeline.errors import ConfigError, Problem, listed, nearest
from pipeline.stage import Setting, Settings
from stages.formats.graphs import CONSTANT, Built

FACT = "ignored"  # what a lowered artifact was made with; that it is there says what the list can be added to


class Patterns(Setting):
    """Regular expressions."""

    def problems(self, name: str, value: list[str]) -> Iterable[Problem]:
        for pattern in value:
            try:
                re.compile(pattern)
            except re.error as e:
                wrong = f"{name} has '{pattern}', which is no regular expression: {e}"
                yield Problem(wrong, "what Python's re takes; \\ before a bracket or dot of a name")


# Not frozen: OmegaConf makes a frozen dataclass read-only before it has filled its lists.
@dataclass
class Ignored(Settings):
    """Operations that keep the precision they have. One that matches nothing is an error.

    Args:
        names: Of operations, as the graph has them.
        patterns: Regular expressions that a whole name matches.
        types: By the format's own name, such as Softmax.
    """

    names: list[str]
    patterns: Annotated[list[str], Patterns()]
    types: list[str]

    def means(self, name: str, kind: str) -> bool:
        """Whether an operation is meant, by its name or its type."""
        return name in self.names or kind in self.types or any(re.fullmatch(p, name) for p in self.patterns)

    def within(self, built: Built) -> list[str]:
        """The names of the operations that are meant, in the graph's order.

        Raises:
            ConfigError: For a name, a pattern or a type that no operation has.
        """
        self.hold_to(_types(built), "graph")
        return self.left(built)

    def left(self, built: Built) -> list[str]:
        """Likewise, of a graph that may lack some of them by now."""
        return [name for name, kind in _types(built).items() if self.means(name, kind)]

    def hold_to(self, operations: Mapping[str, str], what: str) -> None:
        """Raises ConfigError for a name, a pattern or a type that no operation has.

        Args:
            operations: Name to type.
            what: What they are the operations of.
        """
        types = sorted(set(operations.values()))
        asked = [("names", n, list(operations), n in operations) for n in self.names]
        asked += [("patterns", p, list(operations), any(re.fullmatch(p, n) for n in operations)) for p in self.patterns]
        asked += [("types", t, types, t in types) for t in self.types]
        problems = [
            Problem(
                f"ignored.{by} has {text}{nearest(text, known)}, which no operation of this {what} is",
                allowed=listed(known, 12),
            )
            for by, text, known, found in asked
            if not found
        ]
        if problems:
            raise ConfigError(problems)


def of(artifact: Artifact) -> Ignored | None:
    """What an artifact was made with; None for one whose precision was not lowered."""
    told = artifact.facts.get(FACT)
    return None if told is None else Ignored(**told)


def _types(built: Built) -> dict[str, str]:
    return {name: node.type for name, node in built.nodes.items() if node.type != CONSTANT}
