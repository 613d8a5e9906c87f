"""The operations that lowering the precision leaves alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.artifact import Artifact
from pipeline.errors import ConfigError, Problem, listed, nearest
from stages.formats.graphs import CONSTANT, Built

FACT = "ignored"  # what a lowered artifact was made with; that it is there says what the list can be added to


# Not frozen: OmegaConf makes a frozen dataclass read-only before it has filled its lists.
@dataclass
class Ignored:
    """Operations that keep the precision they have. One that matches nothing is an error.

    Args:
        names: Of operations, as the graph has them.
        patterns: Regular expressions that a whole name matches.
        types: By the format's own name, such as Softmax.
    """

    names: list[str]
    patterns: list[str]
    types: list[str]

    def problems(self) -> list[Problem]:
        """What is wrong whatever the graph is."""
        found = []
        for pattern in self.patterns:
            try:
                re.compile(pattern)
            except re.error as e:
                wrong = f"ignored.patterns has '{pattern}', which is no regular expression: {e}"
                found.append(Problem(wrong, allowed="what Python's re takes; \\ before a bracket or dot of a name"))
        return found

    def within(self, built: Built) -> list[str]:
        """The names of the operations that are meant, in the graph's order.

        Raises:
            ConfigError: For a name, a pattern or a type that no operation has.
        """
        self.must_match(_types(built))
        return self.left(built)

    def left(self, built: Built) -> list[str]:
        """Likewise, of a graph that may lack some of them by now."""
        return self.among(_types(built))

    def among(self, operations: Mapping[str, str]) -> list[str]:
        """Those of the operations, given as name to type, that are meant, in their order."""
        wanted = {n for what, asked in self._each() for n in _matching(what, asked, operations)}
        return [n for n in operations if n in wanted]

    def must_match(self, operations: Mapping[str, str]) -> None:
        """Raises ConfigError for a name, a pattern or a type that none of the operations, name to type, has."""
        problems = []
        for what, asked in self._each():
            if not _matching(what, asked, operations):
                known = sorted(set(operations.values())) if what == "types" else list(operations)
                wrong = f"ignored.{what} has {asked}{nearest(asked, known)}, which no operation of this graph is"
                problems.append(Problem(wrong, allowed=listed(known, 12)))
        if problems:
            raise ConfigError(problems)

    def _each(self) -> list[tuple[str, str]]:
        given = {"names": self.names, "patterns": self.patterns, "types": self.types}
        return [(what, asked) for what, several in given.items() for asked in several]


def of(artifact: Artifact) -> Ignored | None:
    """What an artifact was made with; None for one whose precision was not lowered."""
    told = artifact.facts.get(FACT)
    return None if told is None else Ignored(**told)


def _types(built: Built) -> dict[str, str]:
    return {name: node.type for name, node in built.nodes.items() if node.type != CONSTANT}


def _matching(what: str, asked: str, operations: Mapping[str, str]) -> list[str]:
    if what == "types":
        return [name for name, kind in operations.items() if kind == asked]
    if what == "patterns":
        return [name for name in operations if re.fullmatch(asked, name)]
    return [asked] if asked in operations else []
