"""The sizes that a model is run at besides the example's: a graph may have frozen a size of the example."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Mapping

from stages.interface.interface import Dim, cases

EFFORTS = ("quick", "standard", "thorough")
ONE_SHORT = "one short"  # how labels of such sizes end
CORNERS = 32  # combinations of smallest and largest sizes that thorough asks, at most
Sizes = dict[str, int]


def labelled(dims: Mapping[str, Dim], effort: str) -> dict[str, Sizes]:
    """Sizes by label, none twice.

    quick: the example's, the smallest, an odd one and the largest of every dimension. standard adds: each dimension
    at its largest, and one short of it, with the others at their smallest; odd sizes far apart, the first dimension's
    large, since neighbours become equal after a stride; and for every two dimensions one smaller, equal and greater.
    thorough adds: two thirds and the middle of each range, and combinations of smallest and largest sizes.
    """
    by_label: dict[str, Sizes] = dict(cases(dims))

    def add(label: str, sizes: Sizes) -> None:
        if sizes not in by_label.values():
            by_label[label] = sizes

    if effort == "quick":
        return by_label
    smallest = {name: d.min for name, d in dims.items()}
    for name, d in dims.items():
        add(f"{name} largest", {**smallest, name: d.max})
    for name, d in dims.items():
        add(f"{name} {ONE_SHORT}", {**smallest, name: d.sizes[-2]})
    if len(dims) > 1:
        add("odd, apart", _apart(dims))
    for one, other in itertools.combinations(dims, 2):
        for sign, holds in (("<", operator.lt), ("=", operator.eq), (">", operator.gt)):
            if not any(holds(s[one], s[other]) for s in by_label.values()):
                pairs = ((a, b) for a in dims[one].sizes for b in dims[other].sizes if holds(a, b))
                for a, b in itertools.islice(pairs, 1):
                    add(f"{one} {sign} {other}", {**smallest, one: a, other: b})
    if effort == "thorough":
        for label, share in (("two thirds", 2 / 3), ("middle", 1 / 2)):
            add(label, {name: d.sizes[round(share * (len(d.sizes) - 1))] for name, d in dims.items()})
        ends = itertools.product(*((d.min, d.max) for d in dims.values()))
        for number, corner in enumerate(itertools.islice(ends, CORNERS)):
            add(f"corner {number}", dict(zip(dims, corner, strict=True)))
    return by_label


def few(dims: Mapping[str, Dim], minimum: int) -> Sizes:
    """The smallest size of each dimension from `least` up, where there is one: rows that can differ."""
    return {name: next((n for n in d.sizes if n >= minimum), d.max) for name, d in dims.items()}


def _apart(dims: Mapping[str, Dim]) -> Sizes:
    """An odd multiple for each dimension, alternating the largest and the smallest of its range."""
    sizes: Sizes = {}
    for place, (name, d) in enumerate(dims.items()):
        odd = [n for n in d.sizes if n // d.multiple % 2 and n not in (d.min, d.max)] or [*d.sizes]
        sizes[name] = odd[0] if place % 2 else odd[-1]
    return sizes
