"""A decoder whose cache lies in the program, as states, and what runs it as the program that it was made of.

    key_cache_0 ──► cast ──► … ──► slice_update ──► cast ──► key_cache_0_new        becomes
        read_state ──► … ──► slice_update ──► write_state, read_state ──► …

Core ML keeps states in float16 alone. A program of float32 reads them through a cast, and writes them through one.

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
KEPT_IN, FP16, FP32 = "float16", "fp16", "fp32"  # numpy's name, and MIL's
FACT = "stateful"  # what a cache is kept in


def convert(spec: Any, caches: Sequence[Cache]) -> None:
    """Makes a cache a state, in place.

    Args:
        spec: A coremltools Model_pb2.Model of one function, with the cache's inputs and outputs by name.
        caches: Which of these belong together.

    Raises:
        StageError: Where the model has no such input or output, or more functions than one.
    """
    functions = list(spec.mlProgram.functions.values())
    if len(functions) != 1:
        raise StageError(f"the package has {len(functions)} functions", allowed="one, whose cache becomes states")
    ports = {p.name for p in (*spec.description.input, *spec.description.output)}
    if lacking := [n for c in caches for n in (c.input, c.output) if n not in ports]:
        raise StageError(f"the package has no {listed(lacking)}, which its cache is said to be", allowed=listed(ports))
    (block,) = functions[0].block_specializations.values()
    taken = {port.name: port for port in functions[0].inputs}
    operations = [_copy(o) for o in block.operations]
    for cache in caches:
        given, held = taken[cache.input].type, _copy(taken[cache.input].type)
        held.tensorType.dataType = _number(held.tensorType, "dataType", KEPT_IN.upper())
        operations = _Rewriting(operations, cache, given, held).done()
        state = type(held)()
        state.stateType.wrappedType.CopyFrom(held)
        given.CopyFrom(state)
    del block.operations[:]
    block.operations.extend(operations)
    gone = {c.output for c in caches}
    block.outputs[:] = [name for name in block.outputs if name not in gone]
    _describe(spec.description, caches)


class _Rewriting:
    """One part of a cache in the operations of a block.

    Args:
        operations: MIL.proto's; they are changed.
        cache: The part.
        given: Its type as an input.
        held: Its type as a state.
    """

    def __init__(self, operations: Sequence[Any], cache: Cache, given: Any, held: Any) -> None:
        self._operations, self._cache, self._given, self._held = operations, cache, given, held

    def done(self) -> list[Any]:
        """The operations that read the state where they read the input, and write it where they made the output."""
        read, wide = f"{self._cache.input}_held", f"{self._cache.input}_wide"
        casts = [o for o in self._operations if self._casts(o, FP16) and _x(o) == self._cache.input]
        left = [o for o in self._operations if not any(o is c for c in casts)]
        first = [self._operation("read_state", read, self._held, input=self._cache.input)]
        names = {c.outputs[0].name: read for c in casts}
        if schema.dtype(self._given.tensorType) == KEPT_IN:
            names[self._cache.input] = read
        elif any(self._cache.input in _taken(o) for o in left):
            first += self._cast(wide, read, FP32, self._given)
            names[self._cache.input] = wide
        _rename(left, names)
        return [*first, *self._written(left)]

    def _written(self, operations: list[Any]) -> list[Any]:
        """With a state that is written right after its new values were made."""
        at, made = _maker(operations, self._cache.output)
        others = [o for o in operations if o is not operations[at]]
        if self._casts(operations[at], FP32) and not any(made.name in _taken(o) for o in others):
            source = _x(operations[at])  # what only casts it for the output is left out
            operations = others
            at, made = _maker(operations, source)
        later, more = operations[at + 1 :], []
        narrow, again = made.name, f"{self._cache.input}_kept"
        if schema.dtype(made.type.tensorType) != KEPT_IN:
            narrow = f"{self._cache.output}_narrow"
            more += self._cast(narrow, made.name, FP16, self._held)
        more.append(self._operation("write_state", "", None, input=self._cache.input, data=narrow))
        if narrow == made.name and any(narrow in _taken(o) for o in later):
            # As coremltools has it: what goes on with the state itself lets Core ML change it where it lies.
            more.append(self._operation("read_state", again, self._held, input=self._cache.input))
            _rename(later, {narrow: again})
        return [*operations[: at + 1], *more, *later]

    def _casts(self, operation: Any, dtype: str) -> bool:
        """Whether an operation is a cast to a type."""
        if operation.type != "cast":
            return False
        (bound,) = operation.inputs["dtype"].arguments
        made_by = self._operations[_maker(self._operations, bound.name)[0]] if bound.name else None
        value = bound.value if made_by is None else made_by.attributes["val"]
        return list(value.immediateValue.tensor.strings.values) == [dtype]

    def _operation(self, kind: str, output: str, returned: Any, **inputs: str) -> Any:
        made = type(self._operations[0])(type=kind)
        for parameter, name in inputs.items():
            made.inputs[parameter].arguments.add().name = name
        _set_text(made.attributes["name"], output or f"{self._cache.input}_write")
        if output:
            made.outputs.add(name=output).type.CopyFrom(returned)
        return made

    def _cast(self, output: str, x: str, dtype: str, returned: Any) -> list[Any]:
        """A cast, and the constant that says to what."""
        kind = self._operation("const", f"{output}_dtype", returned)
        _set_text(kind.attributes["val"], dtype)
        kind.outputs[0].type.CopyFrom(kind.attributes["val"].type)
        return [kind, self._operation("cast", output, returned, x=x, dtype=f"{output}_dtype")]


def _copy(message: Any) -> Any:
    made = type(message)()
    made.CopyFrom(message)
    return made


def _number(message: Any, field: str, name: str) -> int:
    """The number of an enumeration's name."""
    return int(message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_name[name].number)


def _x(cast: Any) -> str:
    return str(cast.inputs["x"].arguments[0].name)


def _set_text(value: Any, text: str) -> None:
    """Makes a MIL.proto Value a text."""
    tensor = value.type.tensorType
    tensor.dataType = _number(tensor, "dataType", "STRING")
    value.immediateValue.tensor.strings.values.append(text)


def _taken(operation: Any) -> set[str]:
    """What an operation reads, those inside it too."""
    own = {b.name for bound in operation.inputs.values() for b in bound.arguments if b.name}
    inner = [o for block in operation.blocks for o in block.operations]
    outer = {name for block in operation.blocks for name in block.outputs}
    return own.union(outer, *map(_taken, inner))


def _rename(operations: Sequence[Any], names: dict[str, str]) -> None:
    for operation in operations:
        for bound in operation.inputs.values():
            for binding in bound.arguments:
                if binding.name in names:
                    binding.name = names[binding.name]
        for block in operation.blocks:
            _rename(list(block.operations), names)
            block.outputs[:] = [names.get(name, name) for name in block.outputs]


def _maker(operations: Sequence[Any], name: str) -> tuple[int, Any]:
    """The place of the operation that makes a value, and the value as that says."""
    return next((at, o) for at, operation in enumerate(operations) for o in operation.outputs if o.name == name)


def _describe(description: Any, caches: Sequence[Cache]) -> None:
    """Moves the cache from a model's inputs and outputs to its states."""
    gone = {name for c in caches for name in (c.input, c.output)}
    shapes = {port.name: list(port.type.multiArrayType.shape) for port in description.input}
    for ports in (description.input, description.output):
        left = [_copy(p) for p in ports if p.name not in gone]
        del ports[:]
        ports.extend(left)
    for cache in caches:
        array = description.state.add(name=cache.input).type.stateType.arrayType
        array.shape.extend(shapes[cache.input])
        array.dataType = _number(array, "dataType", KEPT_IN.upper())


class ByEvaluator(runtime.EvaluatorSession):
    """A stateful program in the reference evaluator, its states kept from each call to the next."""

    def start(self) -> None:
        """Zeros in all states."""
        from stages.coreml.mil import evaluate

        self._kept = evaluate.states(self._program)

    def put(self, name: str, values: Any) -> None:
        """Has a state hold something."""
        self._kept[name].held = values.astype(KEPT_IN)

    def held(self, name: str) -> Any:
        """What a state holds, float16."""
        return self._kept[name].held

    def __call__(self, inputs: Arrays) -> Arrays:
        from stages.coreml.mil import evaluate, features

        answers = evaluate.evaluate(self._program, inputs, kept=self._kept)
        return features.as_arrays(self._function, answers, self._labels)


class ByCoreml(runtime.CoremlSession):
    """Likewise in Core ML itself, which has states from macOS 15 on."""

    assumed: Mapping[str, str] = {}

    def start(self) -> None:
        """Zeros in all states."""
        self._kept = self._model.make_state()

    def put(self, name: str, values: Any) -> None:
        """Has a state hold something."""
        self._kept.write_state(name, values.astype(KEPT_IN))

    def held(self, name: str) -> Any:
        """What a state holds, float16."""
        return self._kept.read_state(name).astype(KEPT_IN)

    def __call__(self, inputs: Arrays) -> Arrays:
        from stages.coreml.mil import features

        told = self._model.predict(features.for_coreml(self._function, inputs), state=self._kept)
        return features.as_arrays(self._function, features.from_coreml(self._function, told), self._labels)


def opened(program: Program) -> ByEvaluator | ByCoreml:
    """A program in Core ML where it is, and in the reference evaluator everywhere else."""
    return ByCoreml(program) if runtime.has_core_ml() else ByEvaluator(program)


class StatefulSession:
    """The program as before its cache became states: what comes in is put into these, what they hold comes out."""

    def __init__(self, artifact: Artifact, how: How) -> None:
        from stages.coreml.mil import read

        session.without_settings(how, "Core ML")
        self._caches = Generation.read(artifact).cache
        self._outputs = Interface.read(artifact).outputs
        self._running = opened(read.read(artifact.file))
        self.properties, self.computes_in = self._running.properties, self._running.computes_in
        self.assumed = self._running.assumed

    def __call__(self, inputs: Arrays) -> Arrays:
        names = {c.input for c in self._caches}
        self._running.start()
        for cache in self._caches:
            self._running.put(cache.input, inputs[cache.input])
        found = dict(self._running({n: v for n, v in inputs.items() if n not in names}))
        for cache in self._caches:
            found[cache.output] = self._running.held(cache.input).astype(self._outputs[cache.output].dtype)
        return {name: found[name] for name in self._outputs}

    def prepare(self, inputs: Arrays) -> Callable[[], object]:
        raise StageError(runtime.UNMEASURED)


def unmeasured() -> list[Problem]:
    """Why the speed is not measured on this machine; empty where Core ML is."""
    return runtime.unmeasured()


def open_session(artifact: Artifact, how: How) -> StatefulSession:
    """Reads a stateful package. Raises as stages.coreml.runtime.open_session does."""
    return StatefulSession(artifact, how)
