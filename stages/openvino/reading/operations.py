"""The operations of an OpenVINO IR, to be looked at: read from its XML, without OpenVINO.

Source: OpenVINO's description of the IR format: <layers> with their ports, and <edges> from port to port.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from stages.formats.operations import CONSTANT, INPUT, OUTPUT, Operation, short, typed, without_constants

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

TYPES = {"Const": CONSTANT, "Parameter": INPUT, "Result": OUTPUT}
UNSHOWN = ("offset", "size")  # where a constant's values are in the .bin file


def operations(path: Path) -> list[Operation]:
    """The operations of a file, each after those that feed it; those of bodies inside operations are left out."""
    from xml.etree import ElementTree

    net = ElementTree.parse(path).getroot()
    layers = {layer.attrib["id"]: layer for layer in net.iterfind("layers/layer")}
    sources: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for edge in net.iterfind("edges/edge"):
        sources[edge.attrib["to-layer"]].append((int(edge.attrib["to-port"]), edge.attrib["from-layer"]))
    fed = {layer: [source for _, source in sorted(sources[layer])] for layer in layers}
    # Names need not be unique.
    names = {layer: f"{element.attrib['name']} ({layer})" for layer, element in layers.items()}
    counts: dict[str, int] = defaultdict(int)
    for element in layers.values():
        counts[element.attrib["name"]] += 1
    names |= {n: e.attrib["name"] for n, e in layers.items() if counts[e.attrib["name"]] == 1}
    return without_constants(_operation(layers[n], names[n], [names[s] for s in fed[n]]) for n in _in_order(fed))


def _in_order(fed: dict[str, list[str]]) -> Iterator[str]:
    """The layers, each after those that feed it."""
    waiting = {layer: len(sources) for layer, sources in fed.items()}
    feeds: dict[str, list[str]] = defaultdict(list)
    for layer, sources in fed.items():
        for source in sources:
            feeds[source].append(layer)
    ready = deque(layer for layer, count in waiting.items() if not count)
    while ready:
        layer = ready.popleft()
        yield layer
        for after in feeds[layer]:
            waiting[after] -= 1
            if not waiting[after]:
                ready.append(after)


def _operation(layer: Element, name: str, sources: list[str]) -> Operation:
    kind = TYPES.get(layer.attrib["type"], layer.attrib["type"])
    data = layer.find("data")
    attributes = {n: short(v) for n, v in (data.attrib if data is not None else {}).items() if n not in UNSHOWN}
    port = layer.find("output/port") if kind != OUTPUT else layer.find("input/port")
    return Operation(
        name, kind, sources, "" if port is None else _typed(port), attributes if kind != CONSTANT else None
    )


def _typed(port: Element) -> str:
    sizes = [None if (text := dim.text or "") == "-1" else text for dim in port.iterfind("dim")]
    dtype = port.get("precision", "").lower()
    return typed({"fp32": "float32", "fp16": "float16", "i64": "int64", "i32": "int32"}.get(dtype, dtype), sizes)
