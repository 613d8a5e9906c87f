"""Gives the open dimensions of an ONNX file names that can be typed, and the sizes that a person fixes."""

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

# What exporters write for a dimension without a name: paddle2onnx -1, ? and p2o.DynamicDimension.0, tf2onnx unk__749,
# with another number at each export.
PLACEHOLDER = re.compile(r"\W*|-?\d+|unk(nown)?_*\d*|(p2o\.)?DynamicDimension\.\d+|none|dynamic|any", re.IGNORECASE)

MOST_BYTES = 2**30  # of a model that onnx infers in: it has all of it in memory four times


def name(model: onnx.ModelProto) -> dict[str, str]:
    """Gives each open dimension of the inputs a name that can be typed, and writes it into the graph.

    A meaningful name keeps its letters. A placeholder, such as -1 or ?, becomes the dimension's place, such as
    image_dim0: two equal placeholders need not be equal sizes.

    Returns new name to what the file had, in words, for each name that changed.
    """
    originals: dict[str, str] = {}
    renamed: dict[str, str] = {}
    used = {d.dim_param for v in onnx_file.inputs(model) for d in _dims(v) if is_name(d.dim_param)}
    for value in onnx_file.inputs(model):
        for axis, dim in enumerate(_dims(value)):
            theirs = dim.dim_param
            if dim.dim_value > 0 or (is_name(theirs) and not PLACEHOLDER.fullmatch(theirs)):
                continue
            if PLACEHOLDER.fullmatch(theirs):
                ours = legal(f"{legal(value.name, set())}_dim{axis}", used)
                originals[ours] = f"{theirs or dim.dim_value or 'an empty name'} at dimension {axis} of '{value.name}'"
            else:
                ours = renamed.get(theirs) or legal(theirs, used)
                originals[ours] = f"'{theirs}'"
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
    return originals


def shapes(model: onnx.ModelProto) -> dict[str, list[Any]]:
    """The shape of each input. A dimension is a number, or the name from `name`."""
    return {v.name: [d.dim_value or d.dim_param for d in _dims(v)] for v in onnx_file.inputs(model)}


def types(model: onnx.ModelProto) -> dict[str, str]:
    """numpy's name for the type of each input."""
    return {v.name: dtype(v) for v in onnx_file.inputs(model)}


def dtype(value: onnx.ValueInfoProto) -> str:
    """numpy's name for the type of an input or output."""
    import onnx

    return str(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))


def all_inputs(model: onnx.ModelProto, specs: Mapping[str, Input] | None) -> dict[str, Input]:
    """All inputs in the file's order; those that a person describes, as described.

    Where the file uses one name in several inputs, and a person describes it in one of them, that holds for all.

    Raises:
        ConfigError: For an input that the file does not have, a wrong type, or a wrong number of dimensions.
        CheckFailed: For a number that differs from the file's.
    """
    theirs, kinds = shapes(model), types(model)
    specs = specs or {}
    sizes_by_dim: dict[str, set[Any]] = {}
    for called, spec in specs.items():
        if called not in theirs:
            raise ConfigError(
                f"inputs names '{called}', which is no input of the file{nearest(called, theirs)}",
                allowed=listed(f"{n} {s} {kinds[n]}" for n, s in theirs.items()),
            )
        _verify(called, spec, theirs[called], kinds[called])
        for size, ours in zip(theirs[called], spec.shape, strict=True):
            sizes_by_dim.setdefault(size, set()).add(ours)
    same = {size: next(iter(ours)) for size, ours in sizes_by_dim.items() if isinstance(size, str) and len(ours) == 1}
    return {
        called: specs.get(called) or Input([same.get(size, size) for size in shape], kinds[called])
        for called, shape in theirs.items()
    }


def _verify(called: str, spec: Input, shape: Sequence[Any], kind: str) -> None:
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
    """Writes numbers and names into the graph where a person fixed or renamed an open dimension of an input.

    The file's sizes of outputs and of values inside no longer hold then; they are inferred again.

    Args:
        model: The model, with the names from `name`.
        inputs: As `all_inputs` returns them.

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
    """Infers the sizes of outputs and of values inside from the inputs, as far as ONNX can."""
    import onnx

    for graph in onnx_file.graphs(model):
        if graph.value_info:  # writing to an attribute that is no graph would make it one
            del graph.value_info[:]
    for output in model.graph.output:
        for dim in _dims(output):
            dim.ClearField("dim_value")
            dim.ClearField("dim_param")
    if model.ByteSize() > MOST_BYTES:
        return  # the outputs' sizes come from the reference
    input_sizes = {size for shape in shapes(model).values() for size in shape}
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    for output, inferred_output in zip(model.graph.output, inferred.graph.output, strict=True):
        sizes = _dims(inferred_output)
        if len(sizes) == len(_dims(output)):
            for dim, size in zip(_dims(output), sizes, strict=True):
                if size.dim_value > 0:
                    dim.dim_value = size.dim_value
                elif size.dim_param in input_sizes:
                    dim.dim_param = size.dim_param


def _values(model: onnx.ModelProto) -> Iterator[onnx.ValueInfoProto]:
    """The declared values of all graphs: outputs and values inside."""
    for graph in onnx_file.graphs(model):
        yield from (*graph.output, *graph.value_info)


def _dims(value: onnx.ValueInfoProto) -> Sequence[Any]:
    dims: Sequence[Any] = value.type.tensor_type.shape.dim
    return dims
