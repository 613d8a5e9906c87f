"""Rewrites writes into a part of a tensor in a traced program as fill_ and copy_, which coremltools translates.

coremltools takes `y[:, 0].mul_(2)` for a product that does not change y. It has no form at all for writes through views
other than slices.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from pipeline.errors import StageError
from stages.capture import unsupported

PARTS = frozenset({"aten::select", "aten::slice"})
# Operators that always return a view of a tensor's memory; reshape and flatten may copy.
VIEWS = PARTS | {
    f"aten::{name}"
    for name in (
        *("view", "view_as", "transpose", "permute", "t", "unsqueeze", "squeeze", "narrow", "expand", "expand_as"),
        *("swapaxes", "movedim", "unfold", "diagonal"),
    )
}
MANY = 64  # dimensions of a tensor, at most


def rewrite(graph: Any) -> None:
    """Rewrites writes into parts, in place. Raises StageError for a write through another kind of view."""
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
                f"{node.kind()} writes into a view, which coremltools takes for a separate tensor"
                f"\n    {unsupported.place(node.sourceRange()) or 'at a line that is not known'}",
                allowed="writes into slices, or none",
                command="capture=export, which has no writes; or a new tensor in the model",
            )
        _write(graph, node, part)


def _is_write(node: Any) -> bool:
    kind = node.kind()
    return kind.startswith("aten::") and kind.endswith("_") and not kind.endswith("__")


def _views(value: Any) -> Iterator[Any]:
    """A view, the tensor or view behind it, and so on; nothing for a tensor that is no view."""
    if value.node().kind() not in VIEWS:
        return
    yield value
    while value.node().kind() in VIEWS:
        value = next(value.node().inputs())
        yield value


def _is_used_after(node: Any, value: Any) -> bool:
    return any(use.user is not node and use.user.isAfter(node) for use in value.uses())


def _part(graph: Any, node: Any, chain: list[Any]) -> Any:
    """The view as one slice or element of each dimension in turn, as coremltools reads it; None if impossible."""
    *views, base = chain
    rank = base.type().dim()  # None in a saved program; its dimensions are numbered from the first
    remaining = list(range(rank or MANY))  # the dimensions of the whole tensor that the view still has
    by_dim: dict[int, Any] = {}
    for source in (view.node() for view in reversed(views)):
        arguments = list(source.inputs())
        dim = arguments[1].toIValue() if source.kind() in PARTS else None
        if dim is None or (dim < 0 and rank is None) or remaining[dim] in by_dim:
            return None
        by_dim[remaining[dim]] = source
        if source.kind() == "aten::select":
            del remaining[dim]
    graph.setInsertPoint(node)
    part, place = base, 0
    for dim in range(max(by_dim) + 1):
        source = by_dim.get(dim)
        arguments = list(source.inputs())[2:] if source else [graph.insertConstant(n) for n in (0, sys.maxsize, 1)]
        kind = source.kind() if source else "aten::slice"
        step = graph.create(kind, [part, graph.insertConstant(place), *arguments], 1)
        step.insertBefore(node)
        part = step.output()
        place += kind == "aten::slice"
    part.setType(views[0].type())
    return part


def _write(graph: Any, node: Any, part: Any) -> None:
    """Computes the new values as a separate tensor, where the write does not name them, and copies them."""
    view, *rest = node.inputs()
    graph.setInsertPoint(node)
    if node.kind() == "aten::copy_" or (node.kind() == "aten::fill_" and (number := _number(rest[0])) is None):
        node.replaceInput(0, part)
        return
    if node.kind() == "aten::fill_":  # coremltools has it only for fixed sizes
        constants = [graph.insertConstant(c) for c in (number, *[None] * 5)]
        written = graph.create("aten::full_like", [view, *constants], 1)
    else:
        written = graph.create(node.kind().removesuffix("_"), [view, *rest], 1)
    written.insertBefore(node)
    written.output().setType(node.output().type())
    copy = graph.create("aten::copy_", [part, written.output(), graph.insertConstant(False)], 1)
    copy.insertBefore(node)
    copy.output().setType(part.type())
    node.output().replaceAllUsesWith(written.output())
    node.destroy()


def _number(value: Any) -> Any:
    """The Python number of a constant; None for a computed value."""
    constant = value.toIValue()
    return constant.item() if hasattr(constant, "item") else constant
