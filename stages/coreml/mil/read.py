"""Reads a saved .mlpackage into a Program. Arrays stay in the weight file until they are used."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import StageError
from stages.coreml.mil import blob, features, schema
from stages.coreml.mil.package import Package, damaged, open_package
from stages.coreml.mil.program import Block, Function, Operation, Program, Type, Value

ENTRY = "main"


def read(path: Path) -> Program:
    """The program of a package. Raises StageError for a damaged package, or one that is no ML Program."""
    package = open_package(path)
    model = schema.model()()
    try:
        model.ParseFromString(package.spec.read_bytes())
    except Exception as e:  # protobuf's DecodeError, whose module must not be imported here
        raise damaged(path, f"{package.spec.name} cannot be read") from e
    if model.WhichOneof("Type") != "mlProgram":
        raise StageError(
            f"{path.name} holds a {model.WhichOneof('Type')}, not an ML Program", allowed="convert_to=mlprogram"
        )
    described = {f.name: f for f in model.description.functions}
    default = model.description.defaultFunctionName or ENTRY
    functions = {
        name: _function(function, described.get(name, model.description), package)
        for name, function in sorted(model.mlProgram.functions.items())
    }
    if default not in functions:
        raise damaged(path, f"it has no function '{default}'")
    return Program(path, functions, default)


def _function(message: Any, description: Any, package: Package) -> Function:
    version = re.fullmatch(r"CoreML(\d+)", message.opset)
    if version is None or message.opset not in message.block_specializations:
        raise damaged(package.root, f"a function is of the opset '{message.opset}'")
    return Function(
        inputs={i.name: _type(i.type) for i in message.inputs},
        opset=int(version[1]),
        block=_block(message.block_specializations[message.opset], package),
        takes={f.name: features.described(f, description) for f in description.input},
        gives={f.name: features.described(f, description) for f in description.output},
    )


def _block(message: Any, package: Package) -> Block:
    operations = tuple(_operation(o, package) for o in message.operations)
    return Block(tuple(i.name for i in message.inputs), operations, tuple(message.outputs))


def _operation(message: Any, package: Package) -> Operation:
    attributes = {name: _value(v, package) for name, v in message.attributes.items()}
    label = attributes.pop("name", None)
    return Operation(
        type=message.type,
        name=str(label.load()) if label else "",
        inputs={
            name: tuple(b.name or _value(b.value, package) for b in argument.arguments)
            for name, argument in message.inputs.items()
        },
        attributes=attributes,
        outputs=tuple((o.name, _type(o.type)) for o in message.outputs),
        blocks=tuple(_block(b, package) for b in message.blocks),
    )


def _type(message: Any) -> Type:
    form = message.WhichOneof("type")
    if form == "tensorType":
        tensor = message.tensorType
        if any(d.WhichOneof("dimension") == "unknown" and d.unknown.variadic for d in tensor.dimensions):
            return Type("tensor", schema.dtype(tensor))
        sizes = (d.constant.size if d.WhichOneof("dimension") == "constant" else None for d in tensor.dimensions)
        return Type("tensor", schema.dtype(tensor), tuple(sizes))
    if form == "stateType":
        inner = _type(message.stateType.wrappedType)
        return Type("state", inner.dtype, inner.shape)
    if form == "listType":
        inner = _type(message.listType.type)
        return Type("list", inner.dtype, inner.shape)
    return Type(form.removesuffix("Type"))


def _value(message: Any, package: Package) -> Value:
    kind = _type(message.type)
    if message.WhichOneof("value") == "blobFileValue":
        stored = message.blobFileValue
        if kind.shape is None or None in kind.shape:
            raise damaged(package.root, f"the array at byte {stored.offset} has no shape")
        sizes = tuple(int(n or 0) for n in kind.shape)
        return Value(kind, functools.partial(_stored, package, stored.fileName, stored.offset, kind.dtype, sizes))
    return Value(kind, functools.partial(_immediate, message.immediateValue, kind))


def _stored(package: Package, file: str, offset: int, dtype: str, shape: tuple[int, ...]) -> Any:
    return blob.read(package.beside_spec(file), offset, dtype, shape)


def _immediate(message: Any, kind: Type) -> Any:
    """A value in the spec itself: an array, a string, or a list of these."""
    form = message.WhichOneof("value")
    if form in ("list", "tuple"):
        return [_immediate(v.immediateValue, _type(v.type)) for v in getattr(message, form).values]
    if form != "tensor":
        raise StageError(f"a value of the program is a {form}", allowed="tensors, strings, lists of these")
    tensor, sizes = message.tensor, tuple(int(n or 0) for n in kind.shape or ())
    field = tensor.WhichOneof("value")
    if field == "strings":
        texts = list(tensor.strings.values)
        return texts if sizes else texts[0]
    if field == "bytes":
        raw = np.frombuffer(tensor.bytes.values, np.uint8)
        if kind.dtype in blob.BITS:
            return blob.unpacked(raw, kind.dtype, sizes)
        return raw.view(np.dtype(kind.dtype).newbyteorder("<")).reshape(sizes).copy()
    return np.array(getattr(tensor, field).values, kind.dtype).reshape(sizes)
