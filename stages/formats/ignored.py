"""The operations that keep their precision when that of a graph is lowered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated

from pipeline.artifact import Artifact
from pipeline.errors import ConfigError, Problem, listed, nearest
from pipeline.stage import Setting, Settings
from stages.formats.graphs import CONSTANT, NodeGraph

FACT = (
    "ignored"  # the list that a lowered artifact was made with; only an artifact with this fact can have more ignored
)


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
        names: Names of operations in the graph.
        patterns: Regular expressions that a whole name matches.
        types: Types of operations, by the format's own name, such as Softmax.
    """

    names: list[str]
    patterns: Annotated[list[str], Patterns()]
    types: list[str]

    def means(self, name: str, kind: str) -> bool:
        """Whether an operation is in the list, by its name or its type."""
        return name in self.names or kind in self.types or any(re.fullmatch(p, name) for p in self.patterns)

    def within(self, built: NodeGraph) -> list[str]:
        """The names of the operations in the list, in the graph's order.

        Raises:
            ConfigError: For a name, a pattern or a type that no operation has.
        """
        self.require(_types(built), "graph")
        return self.present(built)

    def present(self, built: NodeGraph) -> list[str]:
        """The names of those operations in the list that a graph has, in its order. It may lack some of them."""
        return [name for name, kind in _types(built).items() if self.means(name, kind)]

    def require(self, operations: Mapping[str, str], what: str) -> None:
        """Raises ConfigError for a name, a pattern or a type that no operation has.

        Args:
            operations: Name to type.
            what: The thing that has these operations, for the message: "graph" or "program".
        """
        types = sorted(set(operations.values()))
        matches = [("names", n, list(operations), n in operations) for n in self.names]
        matches += [
            ("patterns", p, list(operations), any(re.fullmatch(p, n) for n in operations)) for p in self.patterns
        ]
        matches += [("types", t, types, t in types) for t in self.types]
        problems = [
            Problem(
                f"ignored.{by} has {text}{nearest(text, choices)}, which no operation of this {what} is",
                allowed=listed(choices, 12),
            )
            for by, text, choices, matched in matches
            if not matched
        ]
        if problems:
            raise ConfigError(problems)


def from_facts(artifact: Artifact) -> Ignored | None:
    """The list that an artifact was made with; None for one whose precision was not lowered."""
    settings = artifact.facts.get(FACT)
    return None if settings is None else Ignored(**settings)


def _types(built: NodeGraph) -> dict[str, str]:
    return {name: node.type for name, node in built.nodes.items() if node.type != CONSTANT}
