"""Moves a decoder's cache into the program, as states, and runs the result through its original interface.

    key_cache_0 ──► cast ──► … ──► slice_update ──► cast ──► key_cache_0_new        becomes
        read_state ──► … ──► slice_update ──► write_state, read_state ──► …

Core ML's states are always float16. A float32 program reads and writes them through casts.

Source: coremltools' MIL.proto and its translation of coreml_update_state, converters/mil/backend/mil/load.py of 9.0
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Artifact
from pipeline.errors import Problem, StageError, listed
from stages.coreml import runtime
from stages.coreml.mil import schema
from stages.formats import session
from stages.formats.session import How
from stages.interface.generation import Cache, Generation
from stages.interface.interface import Interface

if TYPE_CHECKING:
    from stages.coreml.mil.program import Program
    from stages.formats.session import Arrays

REQUIRES = runtime.REQUIRES
STATE_TYPE, FP16, FP32 = "float16", "fp16", "fp32"  # numpy's name, and MIL's names
FACT = "stateful"  # the type of a cache


def convert(spec: Any, caches: Sequence[Cache]) -> None:
    """Turns a cache into states, in place.

    Args:
        spec: A coremltools Model_pb2.Model of one function, with the cache's inputs and outputs by name.
        caches: The pairs of inputs and outputs.

    Raises:
        StageError: Where the model has no such input or output, or more than one function.
    """
    functions = list(spec.mlProgram.functions.values())
    if len(functions) != 1:
        raise StageError(f"the package has {len(functions)} functions", allowed="one, whose cache becomes states")
    ports = {p.name for p in (*spec.description.input, *spec.description.output)}
    if lacking := [n for c in caches for n in (c.input, c.output) if n not in ports]:
        raise StageError(
            f"the package has no {listed(lacking)}, which should be part of its cache", allowed=listed(ports)
        )
    (block,) = functions[0].block_specializations.values()
    inputs = {port.name: port for port in functions[0].inputs}
    operations = [_copy(o) for o in block.operations]
    for cache in caches:
        input_type, state_type = inputs[cache.input].type, _copy(inputs[cache.input].type)
        state_type.tensorType.dataType = _number(state_type.tensorType, "dataType", STATE_TYPE.upper())
        operations = _Rewriting(operations, cache, input_type, state_type).rewritten()
        state = type(state_type)()
        state.stateType.wrappedType.CopyFrom(state_type)
        input_type.CopyFrom(state)
    del block.operations[:]
    block.operations.extend(operations)
    gone = {c.output for c in caches}
    block.outputs[:] = [name for name in block.outputs if name not in gone]
    _describe(spec.description, caches)


class _Rewriting:
    """Rewrites the operations of a block for one part of a cache.

    Args:
        operations: MIL.proto's; they are changed.
        cache: The part.
        input_type: Its type as an input.
        state_type: Its type as a state.
    """

    def __init__(self, operations: Sequence[Any], cache: Cache, input_type: Any, state_type: Any) -> None:
        self._operations, self._cache, self._input_type, self._state_type = operations, cache, input_type, state_type

    def rewritten(self) -> list[Any]:
        """The operations: they read the state instead of the input, and write it instead of the output."""
        read, wide = f"{self._cache.input}_held", f"{self._cache.input}_wide"
        casts = [o for o in self._operations if self._casts(o, FP16) and _x(o) == self._cache.input]
        others = [o for o in self._operations if not any(o is c for c in casts)]
        first = [self._operation("read_state", read, self._state_type, input=self._cache.input)]
        names = {c.outputs[0].name: read for c in casts}
        if schema.dtype(self._input_type.tensorType) == STATE_TYPE:
            names[self._cache.input] = read
        elif any(self._cache.input in _reads(o) for o in others):
            first += self._cast(wide, read, FP32, self._input_type)
            names[self._cache.input] = wide
        _rename(others, names)
        return [*first, *self._written(others)]

    def _written(self, operations: list[Any]) -> list[Any]:
        """The operations with a write of the state right after its new values are computed."""
        at, value = _producer(operations, self._cache.output)
        others = [o for o in operations if o is not operations[at]]
        if self._casts(operations[at], FP32) and not any(value.name in _reads(o) for o in others):
            source = _x(operations[at])  # drop the cast: it is only there for the output
            operations = others
            at, value = _producer(operations, source)
        later, more = operations[at + 1 :], []
        narrow, again = value.name, f"{self._cache.input}_kept"
        if schema.dtype(value.type.tensorType) != STATE_TYPE:
            narrow = f"{self._cache.output}_narrow"
            more += self._cast(narrow, value.name, FP16, self._state_type)
        more.append(self._operation("write_state", "", None, input=self._cache.input, data=narrow))
        if narrow == value.name and any(narrow in _reads(o) for o in later):
            # As coremltools does it: later operations read the state, so that Core ML can update it in place.
            more.append(self._operation("read_state", again, self._state_type, input=self._cache.input))
            _rename(later, {narrow: again})
        return [*operations[: at + 1], *more, *later]

    def _casts(self, operation: Any, dtype: str) -> bool:
        """Whether an operation is a cast to a type."""
        if operation.type != "cast":
            return False
        (bound,) = operation.inputs["dtype"].arguments
        constant = self._operations[_producer(self._operations, bound.name)[0]] if bound.name else None
        value = bound.value if constant is None else constant.attributes["val"]
        return list(value.immediateValue.tensor.strings.values) == [dtype]

    def _operation(self, kind: str, output: str, returned: Any, **inputs: str) -> Any:
        operation = type(self._operations[0])(type=kind)
        for parameter, name in inputs.items():
            operation.inputs[parameter].arguments.add().name = name
        _set_text(operation.attributes["name"], output or f"{self._cache.input}_write")
        if output:
            operation.outputs.add(name=output).type.CopyFrom(returned)
        return operation

    def _cast(self, output: str, x: str, dtype: str, returned: Any) -> list[Any]:
        """A cast, and the constant with its type."""
        kind = self._operation("const", f"{output}_dtype", returned)
        _set_text(kind.attributes["val"], dtype)
        kind.outputs[0].type.CopyFrom(kind.attributes["val"].type)
        return [kind, self._operation("cast", output, returned, x=x, dtype=f"{output}_dtype")]


def _copy(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _number(message: Any, field: str, name: str) -> int:
    """The number of an enumeration's name."""
    return int(message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_name[name].number)


def _x(cast: Any) -> str:
    return str(cast.inputs["x"].arguments[0].name)


def _set_text(value: Any, text: str) -> None:
    """Sets a MIL.proto Value to a text."""
    tensor = value.type.tensorType
    tensor.dataType = _number(tensor, "dataType", "STRING")
    value.immediateValue.tensor.strings.values.append(text)


def _reads(operation: Any) -> set[str]:
    """The names that an operation and those inside it read."""
    own = {b.name for bound in operation.inputs.values() for b in bound.arguments if b.name}
    inner = [o for block in operation.blocks for o in block.operations]
    outer = {name for block in operation.blocks for name in block.outputs}
    return own.union(outer, *map(_reads, inner))


def _rename(operations: Sequence[Any], names: dict[str, str]) -> None:
    for operation in operations:
        for bound in operation.inputs.values():
            for binding in bound.arguments:
                if binding.name in names:
                    binding.name = names[binding.name]
        for block in operation.blocks:
            _rename(list(block.operations), names)
            block.outputs[:] = [names.get(name, name) for name in block.outputs]


def _producer(operations: Sequence[Any], name: str) -> tuple[int, Any]:
    """The position of the operation that computes a value, and the value's description there."""
    return next((at, o) for at, operation in enumerate(operations) for o in operation.outputs if o.name == name)


def _describe(description: Any, caches: Sequence[Cache]) -> None:
    """Moves the cache from a model's inputs and outputs to its states."""
    gone = {name for c in caches for name in (c.input, c.output)}
    shapes = {port.name: list(port.type.multiArrayType.shape) for port in description.input}
    for ports in (description.input, description.output):
        others = [_copy(p) for p in ports if p.name not in gone]
        del ports[:]
        ports.extend(others)
    for cache in caches:
        array = description.state.add(name=cache.input).type.stateType.arrayType
        array.shape.extend(shapes[cache.input])
        array.dataType = _number(array, "dataType", STATE_TYPE.upper())


class ByEvaluator(runtime.EvaluatorSession):
    """A stateful program in the reference evaluator; states keep their values between calls."""

    def start(self) -> None:
        """Sets all states to zeros."""
        from stages.coreml.mil import evaluate

        self._states = evaluate.states(self._program)

    def set_state(self, name: str, values: Any) -> None:
        """Writes a state."""
        self._states[name].array = values.astype(STATE_TYPE)

    def state(self, name: str) -> Any:
        """The values of a state, float16."""
        return self._states[name].array

    def __call__(self, inputs: Arrays) -> Arrays:
        from stages.coreml.mil import evaluate, features

        answers = evaluate.evaluate(self._program, inputs, memory=self._states)
        return features.as_arrays(self._function, answers, self._labels)


class ByCoreml(runtime.CoremlSession):
    """A stateful program in Core ML, which has states from macOS 15 on."""

    assumed: Mapping[str, str] = {}

    def start(self) -> None:
        """Sets all states to zeros."""
        self._states = self._model.make_state()

    def set_state(self, name: str, values: Any) -> None:
        """Writes a state."""
        self._states.write_state(name, values.astype(STATE_TYPE))

    def state(self, name: str) -> Any:
        """The values of a state, float16."""
        return self._states.read_state(name).astype(STATE_TYPE)

    def __call__(self, inputs: Arrays) -> Arrays:
        from stages.coreml.mil import features

        outputs = self._model.predict(features.for_coreml(self._function, inputs), state=self._states)
        return features.as_arrays(self._function, features.from_coreml(self._function, outputs), self._labels)


def open_program(program: Program) -> ByEvaluator | ByCoreml:
    """A program in Core ML on macOS, and in the reference evaluator everywhere else."""
    return ByCoreml(program) if runtime.has_core_ml() else ByEvaluator(program)


class StatefulSession:
    """Runs a stateful program through its original interface: writes inputs into states, reads states as outputs."""

    def __init__(self, artifact: Artifact, how: How) -> None:
        from stages.coreml.mil import read

        session.without_settings(how, "Core ML")
        self._caches = Generation.read(artifact).cache
        self._outputs = Interface.read(artifact).outputs
        self._running = open_program(read.read(artifact.file))
        self.properties, self.computes_in = self._running.properties, self._running.computes_in
        self.assumed = self._running.assumed

    def __call__(self, inputs: Arrays) -> Arrays:
        names = {c.input for c in self._caches}
        self._running.start()
        for cache in self._caches:
            self._running.set_state(cache.input, inputs[cache.input])
        results = dict(self._running({n: v for n, v in inputs.items() if n not in names}))
        for cache in self._caches:
            results[cache.output] = self._running.state(cache.input).astype(self._outputs[cache.output].dtype)
        return {name: results[name] for name in self._outputs}

    def prepare(self, inputs: Arrays) -> Callable[[], object]:
        raise StageError(runtime.UNMEASURED)


def unmeasured() -> list[Problem]:
    """Why the speed is not measured on this machine; empty where Core ML runs."""
    return runtime.unmeasured()


def open_session(artifact: Artifact, how: How) -> StatefulSession:
    """Reads a stateful package. Raises what stages.coreml.runtime.open_session raises."""
    return StatefulSession(artifact, how)
