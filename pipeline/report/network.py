"""The delivered graph, drawn for a run's page: boxes in layers, which graph.js zooms and searches."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from pipeline import formats, units
from pipeline.formats import Kind
from pipeline.record import carrier
from pipeline.report.delivered import Delivered
from pipeline.report.folding import ENDS, Box, Folded, fold
from pipeline.report.html import HERE, Piece, joined, tag
from pipeline.report.layout import GAP, Layout, placed

log = logging.getLogger(__name__)

LARGEST = 2**29  # bytes of a file that is read for its drawing
ROW, HIGH = 66, 40  # pixels from layer to layer, and of a box
WEIGHT = re.compile(r"\n    operand \d+: .*\[\d+(?:, \d+)+\]")  # a constant of two dimensions or more
KEY = "Tinted: it has weights. Thick: several operations. Dark: inputs and outputs."
LETTER, LONGEST = 7.3, 30  # pixels of a letter, and letters of a line
SCRIPT = HERE / "graph.js"


class NotDrawn(Exception):
    """Why a graph is not drawn, in words."""


def section(record: Mapping[str, Any], delivered: Delivered | None) -> Piece:
    """The section of a run's page: the drawing, or why there is none."""
    try:
        folded = _folded(record, delivered)
        inside = [tag("p", f"{folded.says} {KEY}", class_="note"), _tools(folded), _drawing(folded), _closer()]
    except NotDrawn as e:
        inside = [tag("p", f"Not drawn: {e}.", class_="note")]
    return tag("section", tag("h2", "Graph"), *inside)


def is_drawn(section: Piece) -> bool:
    """Whether a section has a drawing, for which the page needs the script."""
    return 'id="net"' in section


def _folded(record: Mapping[str, Any], delivered: Delivered | None) -> Folded:
    """The boxes of the delivered file. Raises NotDrawn."""
    kind = Kind(record["kind"])
    if delivered is None:
        raise NotDrawn("the file is no longer where the run left it")
    if not formats.format_of(kind).operations:
        raise NotDrawn(f"what is in a file of the kind {kind} cannot be read here")
    form = carrier.of_kind(kind)
    assert form is not None, "what is delivered carries a record"
    file = carrier.holder(form, delivered.path)
    try:
        if (size := file.stat().st_size) > LARGEST:
            raise NotDrawn(
                f"{file.name} has {units.size(size)}, and only files of up to {units.size(LARGEST)} are read"
            )
        if form.bare(file) != record["content"].get(form.FILE):
            raise NotDrawn(f"{file.name} is not what the run handed over: its content has another SHA-256")
        return fold(formats.part(kind, "operations").operations(delivered.path))
    except ImportError as e:
        raise NotDrawn(f"{e.name} is not installed") from e
    except NotDrawn:
        raise
    except Exception as e:  # a page is made of any file, and the rest of it is true
        log.info("%s cannot be drawn", file, exc_info=True)
        raise NotDrawn(f"{file.name} cannot be read: {type(e).__name__}: {e}") from e


def _tools(folded: Folded) -> Piece:
    buttons = (("−", "smaller", "net-out"), ("+", "larger", "net-in"), ("fit", "as wide as the page", "net-fit"))
    return tag(
        "form",
        tag("label", "Search ", Piece('<input id="net-words" type="search" placeholder="Conv" autocomplete="off">')),
        tag("span", *(tag("button", text, type="button", title=says, id=i) for text, says, i in buttons)),
        tag("output", f"{len(folded.boxes)} of {len(folded.boxes)} boxes", id="net-count", aria_live="polite"),
        class_="tools",
        id="net-tools",
        hidden=True,
    )


def _closer() -> Piece:
    return tag("pre", "Point at a box, or click on it, for its names, types and attributes.", id="net-says", tabindex=0)


def _drawing(folded: Folded) -> Piece:
    boxes = {box.name: box for box in folded.boxes}
    widths = {name: max(map(len, _lines(box))) * LETTER + 18 for name, box in boxes.items()}
    layout = placed({name: box.sources for name, box in boxes.items()}, widths)
    drawn = (_box(box, layout.middles[name], widths[name]) for name, box in boxes.items())
    high = layout.layers * ROW + round(GAP)
    svg = tag(
        "svg",
        tag("path", d=" ".join(dict.fromkeys(_curves(layout))), class_="wires"),
        joined(*drawn),
        viewBox=f"0 0 {layout.width:.0f} {high}",
        width=round(layout.width),
        height=high,
        role="group",
        aria_label="The operations of the delivered graph, from its inputs down to its outputs",
    )
    return tag("div", svg, id="net", tabindex=0, role="region", aria_label="Graph")


def _lines(box: Box) -> tuple[str, str]:
    """What is written in a box: its operations, and what it gives; an input's or output's name."""
    first, last = box.types[0], box.types[-1]
    inner = f" +{len(box.types) - 2} " if len(box.types) > 2 else " "
    types = first if len(box.types) == 1 else f"{first}{inner}{last}"
    named = box.name.removeprefix("output ") if first in ENDS else types
    return _cut(named), _cut(box.gives)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _box(box: Box, at: tuple[float, int], width: float) -> Piece:
    middle, top = at[0], at[1] * ROW + GAP / 2
    weighted = any(WEIGHT.search(text) for text in box.says)
    kind = "end" if box.types[0] in ENDS else "several" if len(box.types) > 1 else "weighted" if weighted else None
    texts = [
        tag("text", line, x=f"{middle:.0f}", y=f"{top + 16 + 16 * i:.0f}", class_="of" if i else None)
        for i, line in enumerate(_lines(box))
        if line
    ]
    place: dict[str, str | int] = {
        "x": f"{middle - width / 2:.0f}",
        "y": f"{top:.0f}",
        "width": f"{width:.0f}",
        "height": HIGH,
    }
    return tag("g", tag("title", "\n".join(box.says)), tag("rect", **place, rx=4), *texts, class_=kind)


def _curves(layout: Layout) -> Iterator[str]:
    """Every piece of every line: from a box or a point down to the next, and through a point."""
    for _, _, way in layout.lines:
        for i, ((x, layer), (below, next_layer)) in enumerate(pairwise(way)):
            start, end = layer * ROW + GAP / 2 + HIGH, next_layer * ROW + GAP / 2
            through = f"M{x:.0f} {start - HIGH:.0f}V{start:.0f}" if i else f"M{x:.0f} {start:.0f}"
            half = (start + end) / 2
            yield f"{through}C{x:.0f} {half:.0f} {below:.0f} {half:.0f} {below:.0f} {end:.0f}"
