"""The values inside a graph for one set of inputs: the results of each operation that depends on them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.formats.graphs import CONSTANT, NodeGraph

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inner:
    """The values inside a graph.

    Args:
        values: By the name of the node, the results of each that could be computed, in the graph's order.
        stopped: The first node that cannot be computed from these inputs; empty where all can.
    """

    values: Mapping[str, Sequence[Array]]
    stopped: str = ""


def dynamic(graph: NodeGraph, inputs: Sequence[str]) -> Iterator[str]:
    """The nodes that depend on some inputs and on which results depend, in the graph's order.

    All others are constant, or are never used.
    """
    reached, needed = set(inputs), set(graph.results)
    for name, node in reversed(list(graph.nodes.items())):
        if name in needed:
            needed.update(node.sources)
    for name, node in graph.nodes.items():
        if node.type not in (CONSTANT, "Parameter", "Result") and not reached.isdisjoint(node.sources):
            reached.add(name)
            if name in needed:
                yield name


def computed(names: Sequence[str], run: Callable[[Sequence[str]], Mapping[str, Sequence[Array]]]) -> Inner:
    """The values of nodes. Where not all can be computed, those of the first nodes, as many as possible.

    Args:
        names: The nodes, in the graph's order.
        run: Computes some of them, and what they need. It may raise any exception.
    """
    try:
        return Inner(run(names))
    except Exception:  # a runtime raises anything
        log.info("not all values of the graph can be computed", exc_info=True)
    most, least = len(names), 0  # how many cannot be computed, and how many can
    values: Mapping[str, Sequence[Array]] = {}
    while most - least > 1:
        middle = (most + least) // 2
        try:
            values, least = run(names[:middle]), middle
        except Exception:
            most = middle
    return Inner(values, names[least])
