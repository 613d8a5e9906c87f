"""Executes a Program on arrays, operation by operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.errors import CheckFailed, DrydockError, StageError, listed
from stages.coreml.mil import blob, features, ops
from stages.coreml.mil.features import Answers, Arrays
from stages.coreml.mil.program import Block, Function, Operation, Program, Type, Value
from stages.portable.said import first_line

# Given an operation of a function's own block and its results, says what to go on with.
Watch = Callable[[Operation, list[Any]], Sequence[Any]]
# What the interpreter itself does.
CONTROL = frozenset({"const", "cond", "while_loop"})
# The parameters that are tuples, of one element too.
VARIADIC = frozenset({"values", "loop_vars", "elem_shape", "ref_tensors", "begins", "ends", "end_masks"})


class State:
    """What a stateful model keeps; zeros before its first write."""

    def __init__(self, kind: Type) -> None:
        if kind.shape is None or None in kind.shape:
            raise StageError("a state has no fixed shape", allowed="states of fixed shapes")
        self.held = np.zeros([int(n or 0) for n in kind.shape], blob.held_as(kind.dtype))


def missing(program: Program, function: str | None = None) -> tuple[str, ...]:
    """The operations of a function that the evaluator lacks, sorted; of one that it has, a parameter: "gru(clip)"."""
    chosen = _chosen(program, function)
    lacking = set()
    for operation in chosen.block.walk():
        if operation.type in CONTROL:
            continue
        found = ops.find(operation.type, chosen.opset)
        if found is None:
            lacking.add(operation.type)
            continue
        asked = {*operation.inputs, *operation.attributes}
        lacking |= {f"{operation.type}({name})" for name in asked - found.parameters}
    return tuple(sorted(lacking))


def states(program: Program, function: str | None = None) -> Mapping[str, State]:
    """The states of a function before its first call, by name: zeros."""
    inputs = _chosen(program, function).inputs
    return {name: State(kind) for name, kind in inputs.items() if kind.form == "state"}


def evaluate(
    program: Program,
    inputs: Arrays,
    function: str | None = None,
    kept: Mapping[str, State] | None = None,
    watch: Watch | None = None,
) -> Answers:
    """The outputs of a function by name: arrays, and of a classifier the dictionary of its scores.

    Args:
        program: From `read`.
        inputs: Arrays of the types and shapes that the package's description says; of an image, uint8
            [1, height, width, channels] in the order of its colour space.
        function: Its name; None for the package's default.
        kept: From `states`, what earlier calls have written; None for states that start as zeros.
        watch: Sees the results of each operation, and may put others in their place.

    Raises:
        CheckFailed: For inputs that the package does not take, operations that the evaluator lacks, what cannot be
            computed, and results that are not what the program says of them.
        StageError: For weights that are damaged, and a function that is not there.
    """
    chosen = _chosen(program, function)
    if lacking := missing(program, function):
        raise CheckFailed(f"the evaluator lacks {listed(lacking)}", command="check on macOS, where Core ML is")
    scope: dict[str, Any] = features.taken(chosen, inputs)
    scope |= states(program, function) if kept is None else kept
    with np.errstate(all="ignore"):
        answers = _run(chosen.block, scope, chosen, watch)
    return features.given(chosen, dict(zip(chosen.block.outputs, answers, strict=True)))


def _chosen(program: Program, function: str | None) -> Function:
    name = function or program.default
    if name not in program.functions:
        raise StageError(f"{program.path.name} has no function '{name}'", allowed=listed(program.functions))
    return program.functions[name]


def _run(block: Block, outer: Mapping[str, Any], function: Function, watch: Watch | None = None) -> list[Any]:
    """A block's results, in their order. Values are let go after their last use."""
    scope = dict(outer)
    last = _last_uses(block)
    for index, operation in enumerate(block.operations):
        try:
            results = _results(operation, scope, function)
        except DrydockError:
            raise
        except Exception as e:  # numpy and torch raise anything for values that do not fit an operation
            raise CheckFailed(f"{operation.type} '{operation.name}' cannot be computed: {first_line(e)}") from e
        stated = [
            _as_stated(result, kind, operation, function)
            for (_, kind), result in zip(operation.outputs, results, strict=True)
        ]
        results = stated if watch is None else watch(operation, stated)
        scope |= {name: result for (name, _), result in zip(operation.outputs, results, strict=True)}
        for name in last.get(index, ()):
            scope.pop(name, None)
    return [scope[name] for name in block.outputs]


def _last_uses(block: Block) -> dict[int, list[str]]:
    """For each operation the names that no later one of its block needs, nor the block's results."""
    uses: dict[str, int] = {}
    for index, operation in enumerate(block.operations):
        uses |= dict.fromkeys((name for name, _ in operation.outputs), index)
        nested = [o for b in operation.blocks for o in b.walk()]
        for one in (operation, *nested):
            uses |= dict.fromkeys((b for bound in one.inputs.values() for b in bound if isinstance(b, str)), index)
        uses |= dict.fromkeys((name for b in operation.blocks for name in b.outputs), index)
    last: dict[int, list[str]] = {}
    for name in uses.keys() - set(block.outputs):
        last.setdefault(uses[name], []).append(name)
    return last


def _results(operation: Operation, scope: Mapping[str, Any], function: Function) -> Sequence[Any]:
    if operation.type == "const":
        return [operation.attributes["val"].load()]
    given = {name: _bound(name, bindings, scope) for name, bindings in operation.inputs.items()}
    if operation.type == "cond":
        return _run(operation.blocks[0 if given["pred"] else 1], scope, function)
    if operation.type == "while_loop":
        return _loop(operation, given["loop_vars"], scope, function)
    found = ops.find(operation.type, function.opset)
    assert found is not None, "what is lacking was looked for before"
    given |= {name: value.load() for name, value in operation.attributes.items()}
    results = found.call({name: found.take(value) for name, value in given.items()})
    return results if isinstance(results, tuple) else ([results] if operation.outputs else [])


def _bound(name: str, bindings: tuple[str | Value, ...], scope: Mapping[str, Any]) -> Any:
    values = [scope[b] if isinstance(b, str) else b.load() for b in bindings]
    return values if name in VARIADIC else values[0]


def _loop(operation: Operation, values: Sequence[Any], scope: Mapping[str, Any], function: Function) -> Sequence[Any]:
    condition, body = operation.blocks
    while _run(condition, {**scope, **dict(zip(condition.inputs, values, strict=True))}, function)[0]:
        values = _run(body, {**scope, **dict(zip(body.inputs, values, strict=True))}, function)
    return values


def _as_stated(result: Any, kind: Type, operation: Operation, function: Function) -> Any:
    """A result in the type that the program states.

    Raises CheckFailed where its shape is another. Where inputs may have several shapes, only the rank is held to:
    converters get sizes of values in between wrong then, of broadcasts, with no harm to the answers.
    """
    if kind.form != "tensor" or kind.dtype == "string":
        return result
    value = np.asarray(result)
    shape = kind.shape
    if shape is not None and not (
        len(shape) == value.ndim
        and all(want in (None, n) or not function.fixed for want, n in zip(shape, value.shape, strict=True))
    ):
        told = "x".join("?" if n is None else str(n) for n in shape) or "a scalar"
        made = "x".join(map(str, value.shape)) or "a scalar"
        raise CheckFailed(f"{operation.type} '{operation.name}' results in {made}, the program says {told}")
    return value.astype(blob.held_as(kind.dtype), copy=False)
