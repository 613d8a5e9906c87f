"""Executes a Program on arrays, operation by operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.errors import CheckFailed, DrydockError, StageError, listed
from stages.coreml.mil import blob, features, ops
from stages.coreml.mil.features import Answers, Arrays
from stages.coreml.mil.program import Block, Function, Operation, Program, Type, Value
from stages.portable.vendor_errors import first_line

# Gets an operation of a function's own block and its results, and returns the results to continue with.
Watch = Callable[[Operation, list[Any]], Sequence[Any]]
# Operations that the interpreter itself executes.
CONTROL = frozenset({"const", "cond", "while_loop"})
# The parameters that are always tuples, also with one element.
VARIADIC = frozenset({"values", "loop_vars", "elem_shape", "ref_tensors", "begins", "ends", "end_masks"})


class State:
    """One state of a stateful model; zeros before the first write."""

    def __init__(self, kind: Type) -> None:
        if kind.shape is None or None in kind.shape:
            raise StageError("a state has no fixed shape", allowed="states of fixed shapes")
        self.array = np.zeros([int(n or 0) for n in kind.shape], blob.numpy_type(kind.dtype))


def missing(program: Program, function: str | None = None) -> tuple[str, ...]:
    """The operations of a function that the evaluator lacks, sorted; also missing parameters, as "gru(clip)"."""
    chosen = _chosen(program, function)
    lacking = set()
    for operation in chosen.block.walk():
        if operation.type in CONTROL:
            continue
        entry = ops.find(operation.type, chosen.opset)
        if entry is None:
            lacking.add(operation.type)
            continue
        parameters = {*operation.inputs, *operation.attributes}
        lacking |= {f"{operation.type}({name})" for name in parameters - entry.parameters}
    return tuple(sorted(lacking))


def states(program: Program, function: str | None = None) -> Mapping[str, State]:
    """The states of a function before its first call, by name: zeros."""
    inputs = _chosen(program, function).inputs
    return {name: State(kind) for name, kind in inputs.items() if kind.form == "state"}


def evaluate(
    program: Program,
    inputs: Arrays,
    function: str | None = None,
    memory: Mapping[str, State] | None = None,
    watch: Watch | None = None,
) -> Answers:
    """The outputs of a function by name: arrays, and a dictionary of scores from a classifier.

    Args:
        program: From `read`.
        inputs: Arrays with the types and shapes of the package's description; an image is uint8
            [1, height, width, channels] in the order of its colour space.
        function: Its name; None for the package's default.
        memory: The states, from `states`, as earlier calls left them; None for states of zeros.
        watch: Gets the results of each operation, and may replace them.

    Raises:
        CheckFailed: For inputs that the package does not accept, operations that the evaluator lacks or cannot compute,
            and results that differ from the program's declaration.
        StageError: For damaged weights, and a function that does not exist.
    """
    chosen = _chosen(program, function)
    if lacking := missing(program, function):
        raise CheckFailed(f"the evaluator lacks {listed(lacking)}", command="check on macOS, where Core ML is")
    scope: dict[str, Any] = features.as_inputs(chosen, inputs)
    scope |= states(program, function) if memory is None else memory
    with np.errstate(all="ignore"):
        answers = _run(chosen.block, scope, chosen, watch)
    return features.as_outputs(chosen, dict(zip(chosen.block.outputs, answers, strict=True)))


def _chosen(program: Program, function: str | None) -> Function:
    name = function or program.default
    if name not in program.functions:
        raise StageError(f"{program.path.name} has no function '{name}'", allowed=listed(program.functions))
    return program.functions[name]


def _run(block: Block, outer: Mapping[str, Any], function: Function, watch: Watch | None = None) -> list[Any]:
    """A block's results, in their order. Values are released after their last use."""
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
    """For each operation the names that nothing after it needs: no later operation, and no result of the block."""
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
    arguments = {name: _bound(name, bindings, scope) for name, bindings in operation.inputs.items()}
    if operation.type == "cond":
        return _run(operation.blocks[0 if arguments["pred"] else 1], scope, function)
    if operation.type == "while_loop":
        return _loop(operation, arguments["loop_vars"], scope, function)
    entry = ops.find(operation.type, function.opset)
    assert entry is not None, "missing operations were reported before"
    arguments |= {name: value.load() for name, value in operation.attributes.items()}
    results = entry.call({name: entry.take(value) for name, value in arguments.items()})
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
    """A result in the type that the program declares.

    Raises CheckFailed where its shape differs. Where inputs may have several shapes, only the rank is compared: then
    converters declare wrong sizes for some broadcasts, which does not change the results.
    """
    if kind.form != "tensor" or kind.dtype == "string":
        return result
    value = np.asarray(result)
    shape = kind.shape
    if shape is not None and not (
        len(shape) == value.ndim
        and all(want in (None, n) or not function.fixed for want, n in zip(shape, value.shape, strict=True))
    ):
        declared = "x".join("?" if n is None else str(n) for n in shape) or "a scalar"
        computed = "x".join(map(str, value.shape)) or "a scalar"
        raise CheckFailed(f"{operation.type} '{operation.name}' results in {computed}, the program says {declared}")
    return value.astype(blob.numpy_type(kind.dtype), copy=False)
