"""A pass over MIL programs: lowers the rank of reshapes and transposes above five, which Core ML does not have.

coremltools has such a pass only for fixed sizes, but attention cuts windows out of batches of any size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

NAME = "drydock::lower_ranks"
# coremltools' own pass; ours runs before it and leaves fixed sizes to it.
BEFORE = "common::expand_high_rank_reshape_and_transpose"
MOST = 5


def register() -> None:
    """Registers the pass with coremltools under NAME; a second call changes nothing."""
    from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY, register_pass

    if NAME in PASS_REGISTRY:
        return

    @register_pass(namespace="drydock", name="lower_ranks")
    class LowerRanks(AbstractGraphPass):  # type: ignore[misc]
        """Replaces reshape, transpose, reshape by steps with at most five dimensions; one size may be dynamic."""

        def apply(self, prog: Any) -> None:
            for function in prog.functions.values():
                with function:
                    for op in list(function.operations):
                        _lower(op)


def _lower(first: Any) -> None:
    if first.op_type != "reshape" or first.outputs[0].rank <= MOST:
        return
    turn = _only_child(first, "transpose")
    last = _only_child(turn, "reshape") if turn is not None else None
    sizes = [d if isinstance(d, int) else None for d in first.outputs[0].shape]
    if last is None or last.outputs[0].rank > MOST or sizes.count(None) != 1:
        return
    rearranged = _rearranged(first.x, *_grouped(sizes, turn.perm.val.tolist()), last)
    block = first.enclosing_block
    if block.try_replace_uses_of_var_after_op(anchor_op=last, old_var=last.outputs[0], new_var=rearranged):
        block.remove_ops([first, turn, last])


def _only_child(op: Any, kind: str) -> Any:
    children = op.outputs[0].child_ops
    alone = len(children) == 1 and op.outputs[0] not in op.enclosing_block.outputs
    return children[0] if alone and children[0].op_type == kind else None


def _grouped(sizes: Sequence[int | None], order: Sequence[int]) -> tuple[list[int | None], list[int]]:
    """Sizes and order after axes that stay adjacent are merged."""
    groups: list[list[int]] = []
    for axis in order:
        if groups and axis == groups[-1][-1] + 1:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    before = sorted(groups)
    return [_product([sizes[a] for a in group]) for group in before], [before.index(group) for group in groups]


def _rearranged(x: Any, sizes: list[int | None], order: list[int], last: Any) -> Any:
    """Moves one axis after the other to its place: [done, those before it, the axis, those after it]."""
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813

    done: list[int] = []
    if len(order) <= MOST:
        x = mb.reshape(x=x, shape=_shape(sizes), before_op=last)
        x = mb.transpose(x=x, perm=order, before_op=last)
    else:
        for axis in order:
            rest = [a for a in range(len(sizes)) if a not in done]
            place = rest.index(axis)
            parts = [done, rest[:place], [axis], rest[place + 1 :]]
            shape = _shape([_product([sizes[a] for a in part]) for part in parts])
            x = mb.transpose(x=mb.reshape(x=x, shape=shape, before_op=last), perm=[0, 2, 1, 3], before_op=last)
            done.append(axis)
    return mb.reshape(x=x, shape=last.shape, before_op=last, name=last.outputs[0].name)


def _product(sizes: Sequence[int | None]) -> int | None:
    static = [s for s in sizes if s is not None]
    return math.prod(static) if len(static) == len(sizes) else None


def _shape(sizes: Sequence[int | None]) -> list[int]:
    return [-1 if size is None else size for size in sizes]
