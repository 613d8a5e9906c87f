"""Relations of sizes at which a graph answers otherwise, as after a branch that was frozen at the example's."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from benchmarks.check.models.subjects import Subject

WRONG = 1.05  # times what is right
Term = tuple[str, str, int | str]  # a dimension, < = > or "mod 8", and a number or another dimension


@dataclass(frozen=True)
class Relation:
    """All of its terms are true at the sizes that are wrong."""

    says: str
    terms: tuple[Term, ...]

    def holds(self, sizes: Mapping[str, int]) -> bool:
        return all(self._is_true(term, sizes) for term in self.terms)

    @staticmethod
    def _is_true(term: Term, sizes: Mapping[str, int]) -> bool:
        name, how, than = term
        value, other = sizes[name], sizes[than] if isinstance(than, str) else than
        return {"<": value < other, "=": value == other, ">": value > other, "mod 8": value % 8 == other}[how]


def axes(subject: Subject) -> dict[str, tuple[str, int]]:
    """Where the size of a dimension can be read: an input, and which of its axes."""
    return {
        dim: (name, axis)
        for name, spec in subject.inputs.items()
        for axis, dim in enumerate(spec["shape"])
        if isinstance(dim, str)
    }


def relations(subject: Subject) -> Iterator[Relation]:
    """Those that some sizes within the ranges have."""
    for name, (least, usual, largest) in subject.dims.items():
        if largest - usual > 1:
            yield Relation(f"{name} between example and max", ((name, ">", usual), (name, "<", largest)))
        if usual - least > 1:
            yield Relation(f"{name} between min and example", ((name, ">", least), (name, "<", usual)))
        if largest - usual > 1:
            yield Relation(f"{name} one short of max", ((name, "=", largest - 1),))
        if least <= 7 <= largest or largest - least >= 8:
            yield Relation(f"{name} 7 beyond a multiple of 8", ((name, "mod 8", 7),))
        yield Relation(f"{name} beyond the example", ((name, ">", usual),))
    for one, other in itertools.permutations(subject.dims, 2):
        (least, _, largest), (other_least, _, other_largest) = subject.dims[one], subject.dims[other]
        if largest > other_least:
            yield Relation(f"{one} > {other}", ((one, ">", other),))
        if one < other and least <= other_largest and other_least <= largest:
            yield Relation(f"{one} = {other}", ((one, "=", other),))
        yield Relation(f"{one} at min, {other} at max", ((one, "=", least), (other, "=", other_largest)))
