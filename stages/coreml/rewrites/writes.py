"""Writes into a part of a tensor, of a traced program, in the forms that coremltools knows: fill_ and copy_.

coremltools takes `y[:, 0].mul_(2)` for a product that leaves y as it is. What a write changes through other views than
slices it does not know in any form.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from pipeline.errors import StageError
from stages.capture import unsupported

PARTS = frozenset({"aten::select", "aten::slice"})
# What makes another view of a tensor's memory, always; reshape and flatten may copy.
VIEWS = PARTS | {
    f"aten::{name}"
    for name in (
        *("view", "view_as", "transpose", "permute", "t", "unsqueeze", "squeeze", "narrow", "expand", "expand_as"),
        *("swapaxes", "movedim", "unfold", "diagonal"),
    )
}
MANY = 64  # as many dimensions as a tensor has at most


def spelled(graph: Any) -> None:
    """Spells writes into parts so, in place. Raises StageError for one through a view that is no part."""
    import torch

    torch._C._jit_pass_inline(graph)
    torch._C._jit_pass_custom_pattern_based_rewrite_graph(
        "graph(%x):\n  %r = aten::zero_(%x)\n  return (%r)",
        "graph(%x):\n  %zero : int = prim::Constant[value=0]()\n  %r = aten::fill_(%x, %zero)\n  return (%r)",
        graph,
    )
    for node in [n for n in unsupported.nodes(graph) if _is_write(n)]:
        chain = list(_views(next(node.inputs())))
        if not chain or not any(_is_used_after(node, view) for view in chain):
            continue
        part = _part(graph, node, chain)
        if part is None:
            raise StageError(
                f"{node.kind()} writes into a view, which coremltools takes for a tensor of its own"
                f"\n    {unsupported.place(node.sourceRange()) or 'at a line that is not known'}",
                allowed="writes into slices, or none",
                command="capture=export, which has no writes; or a new tensor in the model",
            )
        _write(graph, node, part)


def _is_write(node: Any) -> bool:
    kind = node.kind()
    return kind.startswith("aten::") and kind.endswith("_") and not kind.endswith("__")


def _views(value: Any) -> Iterator[Any]:
    """A view, what it is a view of, and so on; nothing for a tensor that is none."""
    if value.node().kind() not in VIEWS:
        return
    yield value
    while value.node().kind() in VIEWS:
        value = next(value.node().inputs())
        yield value


def _is_used_after(node: Any, value: Any) -> bool:
    return any(use.user is not node and use.user.isAfter(node) for use in value.uses())


def _part(graph: Any, node: Any, chain: list[Any]) -> Any:
    """The view again, of a slice or an element of each dimension in turn, as coremltools reads it; None for others."""
    *views, base = chain
    rank = base.type().dim()  # None of a program that was saved: its numbers of dimensions count from the first
    left = list(range(rank or MANY))  # the dimensions of the whole that a view has
    taken: dict[int, Any] = {}
    for of in (view.node() for view in reversed(views)):
        given = list(of.inputs())
        dim = given[1].toIValue() if of.kind() in PARTS else None
        if dim is None or (dim < 0 and rank is None) or left[dim] in taken:
            return None
        taken[left[dim]] = of
        if of.kind() == "aten::select":
            del left[dim]
    graph.setInsertPoint(node)
    part, place = base, 0
    for dim in range(max(taken) + 1):
        of = taken.get(dim)
        given = list(of.inputs())[2:] if of else [graph.insertConstant(n) for n in (0, sys.maxsize, 1)]
        kind = of.kind() if of else "aten::slice"
        step = graph.create(kind, [part, graph.insertConstant(place), *given], 1)
        step.insertBefore(node)
        part = step.output()
        place += kind == "aten::slice"
    part.setType(views[0].type())
    return part


def _write(graph: Any, node: Any, part: Any) -> None:
    """What is written is a tensor of its own, where it is not said by the write itself; then it is copied."""
    view, *rest = node.inputs()
    graph.setInsertPoint(node)
    if node.kind() == "aten::copy_" or (node.kind() == "aten::fill_" and (number := _number(rest[0])) is None):
        node.replaceInput(0, part)
        return
    if node.kind() == "aten::fill_":  # which coremltools has of fixed sizes alone
        constants = [graph.insertConstant(c) for c in (number, *[None] * 5)]
        made = graph.create("aten::full_like", [view, *constants], 1)
    else:
        made = graph.create(node.kind().removesuffix("_"), [view, *rest], 1)
    made.insertBefore(node)
    made.output().setType(node.output().type())
    copy = graph.create("aten::copy_", [part, made.output(), graph.insertConstant(False)], 1)
    copy.insertBefore(node)
    copy.output().setType(part.type())
    node.output().replaceAllUsesWith(made.output())
    node.destroy()


def _number(value: Any) -> Any:
    """The number that a constant is, as Python's; None for one that is computed."""
    known = value.toIValue()
    return known.item() if hasattr(known, "item") else known
