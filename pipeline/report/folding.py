"""A graph as boxes that a person can look at: each is an operation, or several that were folded into one.

a ─► b ─► c ─► d      folded only where there are more boxes than a page can show: an operation goes into the
      └─────────►     only one that takes it, so that no circle comes of it
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

MOST = 400  # boxes that are drawn
LARGEST = 12  # operations in one box
ENDS = ("input", "output")


class Operation(Protocol):
    """What a format's part `operations` lists; see stages/formats/operations.py."""

    name: str
    type: str
    sources: Sequence[str]
    gives: str
    attributes: Mapping[str, str] | None


@dataclass(frozen=True)
class Box:
    """What is drawn as one.

    Args:
        name: Of the operation, the last one where it has several.
        types: Of its operations, in order.
        sources: The names of the boxes that feed it.
        gives: Type and shape of what it gives.
        says: All that is known of its operations, a line each.
    """

    name: str
    types: tuple[str, ...]
    sources: tuple[str, ...]
    gives: str
    says: tuple[str, ...]


@dataclass(frozen=True)
class Folded:
    """The boxes that are drawn, each after those that feed it, and what is not seen in them.

    Args:
        boxes: At most MOST.
        operations: How many operations the graph has, without inputs and outputs.
        left_out: How many boxes are not drawn.
    """

    boxes: Sequence[Box]
    operations: int
    left_out: int

    @property
    def says(self) -> str:
        """A sentence about how much is seen."""
        count = f"{self.operations} operations"
        folded = sum(len(box.types) > 1 for box in self.boxes)
        inside = f", {folded} boxes of several that follow each other" if folded else ""
        cut = f"; {self.left_out} more boxes, the last of the graph, are not drawn" if self.left_out else ""
        return f"{count} in {len(self.boxes)} boxes with the inputs and outputs{inside}{cut}."


def fold(operations: Iterable[Operation], most: int = MOST) -> Folded:
    """The boxes of a graph.

    Args:
        operations: Each after those that feed it.
        most: How many boxes may be drawn.
    """
    boxes = {one.name: _box(one) for one in operations}
    count = sum(box.types[0] not in ENDS for box in boxes.values())
    for alone in (True, False):  # first the chains, then what only one other takes
        if len(boxes) > most:
            boxes = _merged(boxes, alone=alone)
    drawn = list(boxes.values())
    return Folded(drawn[:most], count, max(len(drawn) - most, 0))


def _box(one: Operation) -> Box:
    attributes = "".join(f"\n    {name}: {value}" for name, value in (one.attributes or {}).items())
    gives = f" → {one.gives}" if one.gives else ""
    return Box(one.name, (one.type,), tuple(one.sources), one.gives, (f"{one.type} {one.name}{gives}{attributes}",))


def _merged(boxes: Mapping[str, Box], *, alone: bool) -> dict[str, Box]:
    """Boxes with each put into the only one that takes it.

    Args:
        boxes: By name, each after those that feed it.
        alone: Whether only where that has no other source.
    """
    takers: dict[str, set[str]] = defaultdict(set)
    for box in boxes.values():
        for source in box.sources:
            takers[source].add(box.name)
    merged: dict[str, Box] = {}
    for box in boxes.values():
        for source in box.sources:
            other = merged.get(source)
            fits = other is not None and len(takers[source]) == 1 and not {other.types[0], box.types[-1]} & {*ENDS}
            if other is None or not fits or (alone and len(box.sources) > 1):
                continue
            if len(box.types) + len(other.types) <= LARGEST:
                del merged[source]
                sources = tuple(dict.fromkeys((*other.sources, *(s for s in box.sources if s != source))))
                heads = tuple(text.split("\n")[0] for text in other.says + box.says)  # all attributes would be too many
                box = replace(box, types=other.types + box.types, sources=sources, says=heads)
        merged[box.name] = box
    return merged
