"""A Core ML package to plant faults in: its operations, what flows between them, and changes of one place."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.check.faults import arrays
from benchmarks.check.models.subjects import Subject
from stages.coreml import package as package_files
from stages.coreml.mil import evaluate
from stages.coreml.mil import read as program_reader
from stages.coreml.mil.program import Feature, Operation

Arrays = Mapping[str, Any]
NUMPY = {"float32": "FLOAT32", "float16": "FLOAT16", "int32": "INT32", "bool": "BOOL", "string": "STRING"}


@dataclass(frozen=True)
class Package:
    """A package that is being changed: where it was read from, and its model."""

    path: Path
    spec: Any

    @property
    def block(self) -> Any:
        function = self.spec.mlProgram.functions["main"]
        return function.block_specializations[function.opset]

    def operation(self, name: str) -> Any:
        """The operation that gives a value."""
        return next(o for o in self.block.operations if any(out.name == name for out in o.outputs))


@dataclass(frozen=True)
class Looked:
    """A right package, and every value in it at two sizes.

    Args:
        operations: Those of the program itself, in their order.
        outputs: The names of its results.
        subject: Whose it is.
        values: The values on each edge, at two sizes.
    """

    operations: Sequence[Operation]
    outputs: Sequence[str]
    subject: Subject
    values: tuple[Arrays, Arrays] = field(repr=False)

    @cached_property
    def constants(self) -> dict[str, Any]:
        """Values of const operations by name: arrays, or strings."""
        return {o.outputs[0][0]: o.attributes["val"].load() for o in self.operations if o.type == "const"}

    def computing(self) -> Iterator[Operation]:
        """The operations but for constants, and those that have blocks of their own."""
        return (o for o in self.operations if o.type != "const" and not o.blocks and o.outputs)

    def is_like(self, one: str, other: str) -> bool:
        """Whether two edges have the same type, and the same shape at both sizes."""
        return arrays.alike(self.values, one, other)


def read(path: Path) -> Package:
    return Package(path, package_files.spec_of(path))


def save(package: Package, folder: Path) -> None:
    shutil.copytree(package.path, folder / package.path.name, copy_function=shutil.copyfile)
    for file in (folder / package.path.name).rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)
    written = package.spec.SerializeToString(deterministic=True)
    (folder / package.path.name / package_files.MODEL).write_bytes(written)


def looked_at(path: Path, subject: Subject, two_inputs: tuple[Arrays, Arrays]) -> Looked:
    """A package after two runs in which every edge is a result."""
    program = program_reader.read(path)
    function = program.functions[program.default]
    results = [
        (name, kind.dtype)
        for o in function.block.operations
        for name, kind in o.outputs
        if o.type != "const" and kind.form == "tensor" and kind.dtype in NUMPY and kind.dtype != "string"
    ]
    opened = replace(
        function,
        block=replace(function.block, outputs=tuple(n for n, _ in results)),
        gives={n: Feature("array", dtype) for n, dtype in results},
    )
    every = replace(program, functions={program.default: opened})

    def run(inputs: Arrays) -> Arrays:
        return {**inputs, **evaluate.evaluate(every, inputs)}

    return Looked(function.block.operations, function.block.outputs, subject, (run(two_inputs[0]), run(two_inputs[1])))


def bind(operation: Any, parameter: str, place: int, name: str) -> None:
    """Another value for one operand."""
    operation.inputs[parameter].arguments[place].name = name


def add(package: Package, before: int, kind: str, inputs: Mapping[str, Sequence[str]], name: str, like: Any) -> None:
    """An operation at a place.

    Args:
        package: The package.
        before: The place.
        kind: Such as "clip".
        inputs: Names of values by parameter.
        name: Of its result.
        like: A type message of MIL, that of its result.
    """
    operation = type(package.block.operations[0])(type=kind)
    for parameter, names in inputs.items():
        for bound in names:
            operation.inputs[parameter].arguments.add(name=bound)
    output = operation.outputs.add(name=name)
    output.type.CopyFrom(like)
    package.block.operations.insert(before, operation)


def add_constant(package: Package, name: str, values: Any) -> str:
    """A constant at the beginning: an array or a string."""
    operation = type(package.block.operations[0])(type="const")
    output = operation.outputs.add(name=name)
    text = isinstance(values, str)
    array = np.zeros(()) if text else np.asarray(values)
    output.type.CopyFrom(tensor_type(output.type, "string" if text else array.dtype.name, array.shape))
    value = operation.attributes["val"]
    value.type.CopyFrom(output.type)
    tensor = value.immediateValue.tensor
    if text:
        tensor.strings.values.append(values)
    else:
        fields = {"f": tensor.floats, "i": tensor.ints, "b": tensor.bools}[array.dtype.kind]
        fields.values.extend(array.reshape(-1).tolist())
    package.block.operations.insert(0, operation)
    return name


def tensor_type(message: Any, dtype: str, shape: Sequence[int]) -> Any:
    """A message of the same class, of a tensor."""
    kind = type(message)()
    field_of = kind.tensorType.DESCRIPTOR.fields_by_name["dataType"]
    kind.tensorType.dataType = field_of.enum_type.values_by_name[NUMPY[dtype]].number
    kind.tensorType.rank = len(shape)
    for size in shape:
        kind.tensorType.dimensions.add().constant.size = size
    return kind


def rename_uses(package: Package, old: str, new: str, after: int) -> None:
    """Every use of a value from a place on is one of another; nested blocks too."""

    def within(operations: Any) -> None:
        for operation in operations:
            for argument in operation.inputs.values():
                for bound in argument.arguments:
                    if bound.name == old:
                        bound.name = new
            for block in operation.blocks:
                within(block.operations)
                block.outputs[:] = [new if n == old else n for n in block.outputs]

    within(package.block.operations[after:])


def insert(package: Package, edge: str, steps: Sequence[tuple[str, Mapping[str, Sequence[str]], str, Any]]) -> None:
    """Operations between a value and all that uses it; an output of the program keeps its name.

    Args:
        package: The package.
        edge: The value.
        steps: For each operation its type, its operands, the name and the type of its result; the last one takes the
            value's place.
    """
    places = [i for i, o in enumerate(package.block.operations) if any(out.name == edge for out in o.outputs)]
    at = places[0] + 1 if places else next(i for i, o in enumerate(package.block.operations) if o.type != "const")
    last, right = steps[-1][2], f"{edge}__right"
    if edge in package.block.outputs:
        rename_uses(package, edge, right, 0)
        for out in package.block.operations[at - 1].outputs:
            out.name = right if out.name == edge else out.name
        names = {edge: right, last: edge}
    else:
        rename_uses(package, edge, last, at)
        names = {}
    for number, (kind, inputs, name, like) in enumerate(steps):
        operands = {p: [names.get(n, n) for n in bound] for p, bound in inputs.items()}
        add(package, at + number, kind, operands, names.get(name, name), like)
    if names:  # what used it before still does, but for the right value
        rename_uses(package, right, edge, at + len(steps))


def type_of(package: Package, name: str) -> Any:
    """The type of a value or of an input."""
    function = package.spec.mlProgram.functions["main"]
    for port in function.inputs:
        if port.name == name:
            return port.type
    return next(out.type for o in package.block.operations for out in o.outputs if out.name == name)
