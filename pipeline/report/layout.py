"""Places boxes in layers from top to bottom, as Sugiyama, Tagawa and Toda do (1981): layers, order, places.

A box is one layer below the lowest of those that feed it. A line that passes layers goes by a point in each, which has
a place as boxes have; all lines of one source share these points. The order in a layer follows the neighbours' centres.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SWEEPS = 8  # down and up, over all layers
GAP, POINT = 18.0, 10.0  # pixels between boxes, and the width of a point


@dataclass(frozen=True)
class Layout:
    """Where everything is.

    Args:
        middles: By box, the middle of its width, in pixels, and its layer from 0.
        lines: Source, target, and where the line goes: middles and layers, the source's first and the target's last.
        width: In pixels.
        layers: How many.
    """

    middles: Mapping[str, tuple[float, int]]
    lines: Sequence[tuple[str, str, Sequence[tuple[float, int]]]]
    width: float
    layers: int


def placed(sources: Mapping[str, Sequence[str]], widths: Mapping[str, float]) -> Layout:
    """Places boxes.

    Args:
        sources: By box, those that feed it, each box after those.
        widths: By box, in pixels.
    """
    layer = _layers(sources)
    ways = {(s, box): _way(s, layer[s], layer[box]) for box, some in sources.items() for s in some if s in sources}
    rows: dict[int, dict[str, float]] = defaultdict(dict)  # by layer, the width of everything in it
    for box in sources:
        rows[layer[box]][box] = widths[box]
    neighbours: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for (_, box), way in ways.items():
        for above, below in zip(way, [*way[1:], box], strict=True):
            if below not in neighbours[above][1]:
                neighbours[above][1].append(below)
                neighbours[below][0].append(above)
        for offset, point in enumerate(way[1:], 1):
            rows[layer[way[0]] + offset][point] = POINT
    middles = _middles(rows, neighbours)
    least = min((middles[n] - w / 2 for row in rows.values() for n, w in row.items()), default=0.0) - GAP
    middles = {name: middle - least for name, middle in middles.items()}
    lines = [
        (source, box, [*((middles[p], layer[source] + i) for i, p in enumerate(way)), (middles[box], layer[box])])
        for (source, box), way in ways.items()
    ]
    width = max((middles[n] + w / 2 for row in rows.values() for n, w in row.items()), default=0.0) + GAP
    return Layout({box: (middles[box], layer[box]) for box in sources}, lines, width, len(rows))


def _layers(sources: Mapping[str, Sequence[str]]) -> dict[str, int]:
    layer: dict[str, int] = {}
    for box, some in sources.items():
        layer[box] = 1 + max((layer[s] for s in some if s in layer), default=-1)
    takers: dict[str, list[int]] = defaultdict(list)
    for box, some in sources.items():
        for source in some:
            takers[source].append(layer[box])
    for box, some in sources.items():  # what nothing feeds stands close to what takes it
        if not some and takers[box]:
            layer[box] = min(takers[box]) - 1
    return layer


def _way(source: str, start: int, end: int) -> list[str]:
    """The source and the points that a line goes by; the points of a source are the same for all of its lines."""
    return [source, *(f"{source}\0{layer}" for layer in range(start + 1, end))]


def _middles(
    rows: Mapping[int, Mapping[str, float]], neighbours: Mapping[str, tuple[list[str], list[str]]]
) -> dict[str, float]:
    """The middle of everything, moved to the centre of its neighbours above and below in turn."""
    middles: dict[str, float] = {}
    for row in rows.values():
        middles |= _apart(dict.fromkeys(row, 0.0), row)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for at in sorted(rows, reverse=not down):
            wanted = {}
            for name in rows[at]:
                near = neighbours[name][0 if down else 1] if name in neighbours else []
                wanted[name] = sum(middles[n] for n in near) / len(near) if near else middles[name]
            middles |= _apart(wanted, rows[at])
    return middles


def _apart(wanted: Mapping[str, float], widths: Mapping[str, float]) -> dict[str, float]:
    """Middles close to the wanted ones, in their order, so that nothing overlaps.

    Neighbours that would overlap are joined to a group, which stands where its members want it on average.
    """
    groups: list[tuple[list[str], list[float], float]] = []  # members, their places in the group, where it stands
    for name in sorted(wanted, key=lambda n: wanted[n]):
        group = ([name], [0.0], wanted[name])
        while groups and _end(groups[-1], widths) + GAP > group[2] + group[1][0] - widths[group[0][0]] / 2:
            before = groups.pop()
            shift = before[1][-1] + widths[before[0][-1]] / 2 + GAP + widths[group[0][0]] / 2 - group[1][0]
            members, places = before[0] + group[0], before[1] + [place + shift for place in group[1]]
            wish = sum(wanted[m] - place for m, place in zip(members, places, strict=True)) / len(members)
            group = (members, places, wish)
        groups.append(group)
    return {m: at + place for members, places, at in groups for m, place in zip(members, places, strict=True)}


def _end(group: tuple[list[str], list[float], float], widths: Mapping[str, float]) -> float:
    return group[2] + group[1][-1] + widths[group[0][-1]] / 2
