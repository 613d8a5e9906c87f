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


def chosen(possible: Iterable[Mutant], most: int, seed: int) -> list[Mutant]:
    """So many of them at most, of every kind as many as there are of the scarcest, in an order that a seed decides."""
    by_kind: dict[str, list[Mutant]] = {}
    seen = set()
    for mutant in possible:
        if mutant.name not in seen:
            seen.add(mutant.name)
            by_kind.setdefault(mutant.kind, []).append(mutant)
    shuffled = []
    for kind, of_kind in sorted(by_kind.items()):
        rng = np.random.default_rng([seed, *kind.encode()])
        shuffled.append([of_kind[int(i)] for i in rng.permutation(len(of_kind))])
    return list(_in_turn(shuffled))[:most]


def _in_turn(of_kinds: list[list[Mutant]]) -> Iterator[Mutant]:
    for round_of in zip_longest(*of_kinds):
        yield from (m for m in round_of if m is not None)
