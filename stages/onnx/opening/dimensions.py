"""The open dimensions of an ONNX file, under names that can be typed, and with the sizes that a person fixes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.errors import CheckFailed, ConfigError, listed, nearest
from stages.interface import typed
from stages.interface.interface import Input, is_name
from stages.interface.ports import legal
from stages.onnx import file as onnx_file

if TYPE_CHECKING:
    import onnx

# What exporters write where they know no name: paddle2onnx -1, ? and p2o.DynamicDimension.0, tf2onnx unk__749, which is
# another number at each export.
PLACEHOLDER = re.compile(r"\W*|-?\d+|unk(nown)?_*\d*|(p2o\.)?DynamicDimension\.\d+|none|dynamic|any", re.IGNORECASE)


def name(model: onnx.ModelProto) -> dict[str, str]:
    """Gives each open dimension of the inputs a name that can be typed, in the graph too.

    A name that says something keeps its letters; one that says nothing, as -1 and ? do, gives way to the dimension's
    place, such as image_dim0: two of them need not be alike.

    Returns what the file has, in words, by each new name that differs from it.
    """
    told: dict[str, str] = {}
    renamed: dict[str, str] = {}
    taken = {d.dim_param for v in onnx_file.inputs(model) for d in _dims(v) if is_name(d.dim_param)}
    for value in onnx_file.inputs(model):
        for axis, dim in enumerate(_dims(value)):
            theirs = dim.dim_param
            if dim.dim_value > 0 or (is_name(theirs) and not PLACEHOLDER.fullmatch(theirs)):
                continue
            if PLACEHOLDER.fullmatch(theirs):
                ours = legal(f"{legal(value.name, set())}_dim{axis}", taken)
                told[ours] = f"{theirs or dim.dim_value or 'an empty name'} at dimension {axis} of '{value.name}'"
            else:
                ours = renamed.get(theirs) or legal(theirs, taken)
                told[ours] = f"'{theirs}'"
                renamed[theirs] = ours
            dim.dim_param = ours
    for value in _values(model):
        for dim in _dims(value):
            if PLACEHOLDER.fullmatch(dim.dim_param):
                dim.ClearField("dim_param")
            elif dim.dim_param in renamed:
                dim.dim_param = renamed[dim.dim_param]
            if dim.HasField("dim_value") and dim.dim_value <= 0:
                dim.ClearField("dim_value")
    return told


def shapes(model: onnx.ModelProto) -> dict[str, list[Any]]:
    """The shape of each input: a number, or the name that `name` gave, for each dimension."""
    return {v.name: [d.dim_value or d.dim_param for d in _dims(v)] for v in onnx_file.inputs(model)}


def types(model: onnx.ModelProto) -> dict[str, str]:
    """numpy's name for the type of each input."""
    return {v.name: dtype(v) for v in onnx_file.inputs(model)}


def dtype(value: onnx.ValueInfoProto) -> str:
    """numpy's name for the type of an input or output."""
    import onnx

    return str(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))


def given(model: onnx.ModelProto, wanted: Mapping[str, Input] | None) -> dict[str, Input]:
    """All inputs, those that a person describes as described, in the file's order.

    A dimension that the file has under one name in several inputs, and that is described in one, is that in all.

    Raises:
        ConfigError: For an input that the file does not have, another type, or another number of dimensions.
        CheckFailed: For a number where the file has another one.
    """
    theirs, kinds = shapes(model), types(model)
    wanted = wanted or {}
    described: dict[str, set[Any]] = {}
    for called, spec in wanted.items():
        if called not in theirs:
            raise ConfigError(
                f"inputs names '{called}', which is no input of the file{nearest(called, theirs)}",
                allowed=listed(f"{n} {s} {kinds[n]}" for n, s in theirs.items()),
            )
        _hold(called, spec, theirs[called], kinds[called])
        for size, ours in zip(theirs[called], spec.shape, strict=True):
            described.setdefault(size, set()).add(ours)
    same = {size: next(iter(ours)) for size, ours in described.items() if isinstance(size, str) and len(ours) == 1}
    return {
        called: wanted.get(called) or Input([same.get(size, size) for size in shape], kinds[called])
        for called, shape in theirs.items()
    }


def _hold(called: str, spec: Input, shape: Sequence[Any], kind: str) -> None:
    if spec.dtype != kind:
        raise ConfigError(
            f"inputs.{called}.dtype is {spec.dtype}, the file's is {kind}",
            command=f"'model.inputs={{{typed.name(called)}: {{shape: {typed.shape(spec.shape)}, dtype: {kind}}}}}'",
        )
    if len(spec.shape) != len(shape):
        raise ConfigError(
            f"inputs.{called}.shape is {typed.shape(spec.shape)}, of {len(spec.shape)} dimensions; "
            f"the file's is {typed.shape(shape)}"
        )
    for axis, (theirs, ours) in enumerate(zip(shape, spec.shape, strict=True)):
        if isinstance(theirs, int) and isinstance(ours, int) and theirs != ours:
            raise CheckFailed(
                f"dimension {axis} of input '{called}' was asked for as {ours}, and the file fixes it at {theirs}",
                allowed=f"{theirs}; or a name, where it is the batch",
                command=f"a file that was exported with another size, or {theirs} in model.inputs",
            )


def describe(model: onnx.ModelProto, inputs: Mapping[str, Input]) -> list[str]:
    """Puts numbers and names into the graph where a person fixed or renamed an open dimension of an input.

    What the file says of sizes inside the graph and of outputs no longer holds then, and is inferred again.

    Args:
        model: With the names that `name` gave.
        inputs: As `given` returns them.

    Returns the dimensions that were fixed, in words.
    """

    fixed: list[str] = []
    renamed: dict[str, Any] = {}
    split: set[str] = set()
    for value in onnx_file.inputs(model):
        for axis, (dim, ours) in enumerate(zip(_dims(value), inputs[value.name].shape, strict=True)):
            theirs = dim.dim_param
            if dim.dim_value or theirs == ours:
                continue
            if renamed.setdefault(theirs, ours) != ours:
                split.add(theirs)
            if isinstance(ours, int):
                fixed.append(f"{theirs} at {ours} (dimension {axis} of '{value.name}')")
                dim.dim_value = ours
            else:
                dim.dim_param = ours
    if not renamed:
        return fixed
    for value in _values(model):
        for dim in _dims(value):
            if dim.dim_param in split or isinstance(renamed.get(dim.dim_param), int):
                dim.ClearField("dim_param")
            elif dim.dim_param in renamed:
                dim.dim_param = renamed[dim.dim_param]
    if fixed:
        infer(model)
    return fixed


def infer(model: onnx.ModelProto) -> None:
    """Infers the sizes of what is inside and of the outputs from the inputs', as far as ONNX can."""
    import onnx

    for graph in onnx_file.graphs(model):
        if graph.value_info:  # an attribute that is no graph would be one once it is written to
            del graph.value_info[:]
    for output in model.graph.output:
        for dim in _dims(output):
            dim.ClearField("dim_value")
            dim.ClearField("dim_param")
    if model.ByteSize() > onnx_file.LARGEST_PROTOBUF:
        return  # what it cannot hold; the outputs' sizes are read back from the reference
    known = {size for shape in shapes(model).values() for size in shape}
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    for output, found in zip(model.graph.output, inferred.graph.output, strict=True):
        sizes = _dims(found)
        if len(sizes) == len(_dims(output)):
            for dim, size in zip(_dims(output), sizes, strict=True):
                if size.dim_value > 0:
                    dim.dim_value = size.dim_value
                elif size.dim_param in known:
                    dim.dim_param = size.dim_param


def _values(model: onnx.ModelProto) -> Iterator[onnx.ValueInfoProto]:
    """What the file says of shapes: of outputs, and of what is inside."""
    for graph in onnx_file.graphs(model):
        yield from (*graph.output, *graph.value_info)


def _dims(value: onnx.ValueInfoProto) -> Sequence[Any]:
    dims: Sequence[Any] = value.type.tensor_type.shape.dim
    return dims
