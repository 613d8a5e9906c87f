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
ARITHMETIC = ("add", "maximum", "minimum", "mul", "real_div", "sub")
REDUCTIONS = ("reduce_max", "reduce_min", "reduce_mean", "reduce_sum")


def register() -> None:
    """Registers the pass with coremltools under NAME; a second call changes nothing."""
    from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY, register_pass

    if NAME in PASS_REGISTRY:
        return

    @register_pass(namespace="drydock", name="lower_ranks")
    class LowerRanks(AbstractGraphPass):  # type: ignore[misc]
        """Replaces chains that begin with a reshape by steps with at most five dimensions; one size may be dynamic.

        The chains: reshape, transpose, reshape; reshape, transpose, unbind, as of queries, keys and values; reshape and
        a reduction; reshape and another reshape, of any sizes, with arithmetic of one number between them.
        """

        def apply(self, prog: Any) -> None:
            for function in prog.functions.values():
                with function:
                    # The last reshape of a chain may be the first one of the next.
                    while any(_lower(op) for op in list(function.operations)):
                        pass


def _lower(first: Any) -> bool:
    """Lowers the chain that begins with an operation, if one does."""
    if first.op_type != "reshape" or first.outputs[0].rank <= MOST:
        return False
    if (again := _only_child(first, "reshape")) is not None:
        return _lower_twice(first, again)
    for kind in ARITHMETIC:
        if (computed := _only_child(first, kind)) is not None:
            return _compute_before(first, computed)
    sizes = _without_open_rest([d if isinstance(d, int) else None for d in first.outputs[0].shape], first)
    if sizes.count(None) > 1:
        return False
    for kind in REDUCTIONS:
        if (reduced := _only_child(first, kind)) is not None:
            return _lower_reduction(first, reduced, sizes)
    turn = _only_child(first, "transpose")
    if turn is None:
        return False
    if (parts := _only_child(turn, "split")) is not None:
        return _lower_unbind(first, turn, parts, sizes)
    if sizes.count(None) != 1:
        return False
    _answer_shapes(first, turn, sizes)
    last = _only_child(turn, "reshape")
    if last is None:
        return False
    rearranged = _rearranged(first.x, *_grouped(sizes, turn.perm.val.tolist()), last)
    return _replace([(last, rearranged)], [first, turn, last])


def _lower_twice(first: Any, again: Any) -> bool:
    """Reshapes once, unless the second shape keeps dimensions of the first by zeros."""
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813
    from coremltools.converters.mil.mil.types.symbolic import is_symbolic

    sizes = again.shape.sym_val
    if sizes is None or any(not is_symbolic(n) and n == 0 for n in sizes):
        return False
    x = mb.reshape(x=first.x, shape=again.shape, before_op=again, name=again.outputs[0].name)
    return _replace([(again, x)], [first, again])


def _compute_before(first: Any, computed: Any) -> bool:
    """Computes with one number before the reshape."""
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813

    place, other = ("x", computed.y) if computed.x is first.outputs[0] else ("y", computed.x)
    if math.prod(other.shape) != 1 or other.rank > first.x.rank:
        return False
    operands = {"x": other, "y": other, place: first.x}
    x = getattr(mb, computed.op_type)(**operands, before_op=computed)
    x = mb.reshape(x=x, shape=first.shape, before_op=computed, name=computed.outputs[0].name)
    return _replace([(computed, x)], [first, computed])


def _without_open_rest(sizes: list[int | None], first: Any) -> list[int | None]:
    """The sizes that a reshape asks for, with -1 resolved where the only other open one is a part of the first size.

    As where windows become pictures again: [windows, …] to [windows // number of windows, …, -1].
    """
    asked = [] if first.shape.sym_val is None else list(first.shape.sym_val)
    within = [d for d in first.x.shape[1:] if isinstance(d, int)]
    if sizes.count(None) != 2 or asked.count(-1) != 1 or len(within) < first.x.rank - 1:
        return sizes
    rest = asked.index(-1)
    part = next(axis for axis, size in enumerate(sizes) if size is None and axis != rest)
    if (divisor := _divisor_of_first(first.shape, part, first.x)) is None:
        return sizes
    others = math.prod(size for size in sizes if size is not None)
    return [math.prod(within) * divisor // others if axis == rest else size for axis, size in enumerate(sizes)]


def _divisor_of_first(shape: Any, place: int, x: Any) -> int | None:
    """What an entry of a shape divides the first size of a tensor by; None where it is something else."""
    op = shape.op
    if op is None or op.op_type != "concat" or len(op.values) != shape.shape[0]:
        return None
    divided = _behind(op.values[place])
    if divided is None or divided.op_type != "floor_div" or divided.y.val is None:
        return None
    gathered = _behind(divided.x)
    of_shape = _behind(gathered.x) if gathered is not None and gathered.op_type == "gather" else None
    of_first = of_shape is not None and of_shape.op_type == "shape" and of_shape.x is x
    return int(divided.y.val) if of_first and int(gathered.indices.val) == 0 else None


def _behind(var: Any) -> Any:
    """The operation behind a variable, beyond those that only change its type or rank."""
    while var.op is not None and var.op.op_type in ("cast", "expand_dims", "identity", "squeeze"):
        var = var.op.x
    return var.op


def _answer_shapes(first: Any, turn: Any, sizes: list[int | None]) -> None:
    """Computes the shape of what is transposed from the number of elements, without a tensor of that shape."""
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813

    known = math.prod(size for size in sizes if size is not None)
    for op in [child for child in turn.outputs[0].child_ops if child.op_type == "shape"]:
        count = mb.reduce_prod(x=mb.shape(x=first.x, before_op=op), axes=[0], keep_dims=True, before_op=op)
        open_size = mb.floor_div(x=count, y=known, before_op=op)
        turned = [sizes[axis] for axis in turn.perm.val.tolist()]
        values = [open_size if size is None else [size] for size in turned]
        shape = mb.concat(values=values, axis=0, before_op=op, name=op.outputs[0].name)
        _replace([(op, shape)], [op])


def _lower_reduction(first: Any, reduced: Any, sizes: list[int | None]) -> bool:
    """Reduces axes that lie beside each other, as one of three."""
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813

    axes = sorted(int(a) % len(sizes) for a in reduced.axes.val)
    result = reduced.outputs[0]
    if axes != list(range(axes[0], axes[-1] + 1)) or result.rank > MOST:
        return False
    of_three = [_product(part) for part in (sizes[: axes[0]], sizes[axes[0] : axes[-1] + 1], sizes[axes[-1] + 1 :])]
    x = mb.reshape(x=first.x, shape=_shape(of_three), before_op=reduced)
    x = getattr(mb, reduced.op_type)(x=x, axes=[1], keep_dims=False, before_op=reduced)
    kept = [1 if a in axes else n for a, n in enumerate(sizes) if a not in axes or reduced.keep_dims.val]
    x = mb.reshape(x=x, shape=_shape(kept), before_op=reduced, name=result.name)
    return _replace([(reduced, x)], [first, reduced])


def _lower_unbind(first: Any, turn: Any, parts: Any, sizes: list[int | None]) -> bool:
    """Cuts the parts out of the last dimension before it becomes several."""
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813

    order = turn.perm.val.tolist()
    axis = order[int(parts.axis.val) % len(order)]
    within, length = _product(sizes[axis:]), _product(sizes[axis + 1 :])
    ends = [op for var in parts.outputs for op in var.child_ops]
    alone = len(ends) == len(parts.outputs) == sizes[axis] and all(op.op_type == "squeeze" for op in ends)
    x = first.x
    if not alone or within is None or length is None or within != x.shape[-1] or len(sizes) - 1 > MOST:
        return False
    others = [n for a, n in enumerate(sizes) if a != axis]
    turned = [a - (a > axis) for a in order if a != axis]
    every = [True] * (x.rank - 1) + [False]
    replaced = []
    for number, end in enumerate(ends):
        begin = [0] * (x.rank - 1) + [number * length]
        stop = [0] * (x.rank - 1) + [(number + 1) * length]
        part = mb.slice_by_index(x=x, begin=begin, end=stop, begin_mask=every, end_mask=every, before_op=end)
        part = mb.reshape(x=part, shape=_shape(others), before_op=end)
        part = mb.transpose(x=part, perm=turned, before_op=end, name=end.outputs[0].name)
        replaced.append((end, part))
    return _replace(replaced, [first, turn, parts, *ends])


def _replace(replaced: Sequence[tuple[Any, Any]], gone: Sequence[Any]) -> bool:
    block = gone[0].enclosing_block
    for op, var in replaced:
        if not block.try_replace_uses_of_var_after_op(anchor_op=op, old_var=op.outputs[0], new_var=var):
            return False
    block.remove_ops(list(gone))
    return True


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
