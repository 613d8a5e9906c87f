"""The operations of a Core ML package, to be looked at: read from its ML Program, without coremltools."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stages.coreml.mil import read as mil_read
from stages.coreml.mil.program import Function, Type
from stages.formats.operations import CONSTANT, INPUT, OUTPUT, Operation, typed, without_constants


def operations(path: Path) -> list[Operation]:
    """The operations of the function that runs by default, each after those that feed it, without nested blocks."""
    program = mil_read.read(path)
    return without_constants(_operations(program.functions[program.default]))


def _operations(function: Function) -> Iterator[Operation]:
    makers = {name: name for name in function.inputs}
    for name, kind in function.inputs.items():
        yield Operation(name, INPUT, (), _typed(kind))
    types = dict(function.inputs)
    for op in function.block.operations:
        name = op.outputs[0][0] if op.outputs else op.name
        makers |= {output: name for output, _ in op.outputs}
        types |= dict(op.outputs)
        taken = [argument for arguments in op.inputs.values() for argument in arguments]
        sources = [makers[a] for a in taken if isinstance(a, str) and a in makers]
        gives = _typed(op.outputs[0][1]) if op.outputs else ""
        constant = op.type == "const" or op.type.startswith("constexpr_")
        values = {
            parameter: _typed(value.type)
            for parameter, arguments in op.inputs.items()
            for value in arguments
            if not isinstance(value, str)
        }
        yield Operation(name, CONSTANT if constant else op.type, () if constant else sources, gives, values)
    for output in function.block.outputs:
        sources = [makers[output]] if output in makers else []
        yield Operation(f"output {output}", OUTPUT, sources, _typed(types[output]) if output in types else "")


def _typed(kind: Type) -> str:
    return typed(kind.dtype or kind.form, kind.shape)
