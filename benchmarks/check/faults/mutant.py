"""A planted fault, and which of the many that there could be are planted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Mutant:
    """One fault, of one artifact.

    Args:
        kind: What it is reported under, such as "epsilon".
        what: What is changed, at which place: its name, the same in every run.
        apply: Changes a model that was read anew: an ONNX ModelProto, an openvino.Model or a Core ML model.
    """

    kind: str
    what: str
    apply: Callable[[Any], None]

    @property
    def name(self) -> str:
        return f"{self.kind}: {self.what}"


def chosen(possible: Iterable[Mutant], most: int, seed: str) -> list[Mutant]:
    """So many of them at most, the kinds in turn while there are any, in an order that a text decides."""
    by_kind: dict[str, list[Mutant]] = {}
    used = set()
    for mutant in possible:
        if mutant.name not in used:
            used.add(mutant.name)
            by_kind.setdefault(mutant.kind, []).append(mutant)
    rng = np.random.default_rng(list(seed.encode()))
    kinds = [by_kind[kind] for kind in rng.permutation(sorted(by_kind))]
    shuffled = [[of_kind[int(i)] for i in rng.permutation(len(of_kind))] for of_kind in kinds]
    return list(_in_turn(shuffled))[:most]


def _in_turn(of_kinds: list[list[Mutant]]) -> Iterator[Mutant]:
    for round_of in zip_longest(*of_kinds):
        yield from (m for m in round_of if m is not None)
