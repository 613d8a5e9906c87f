"""Converts a program to OpenVINO IR: conversion, the interface and its edits, and files with reproducible bytes.

Source: https://docs.openvino.ai/2026/openvino-workflow/model-preparation.html
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.artifact import Artifact, Kind, carried
from pipeline.errors import CheckFailed, StageError, listed
from stages.capture import decompositions, programs
from stages.capture.format import EXPORTED, TORCHSCRIPT
from stages.frameworks import formats as file_formats
from stages.frameworks.format import FILE
from stages.interface.edits import Edits
from stages.interface.images import Preprocessing
from stages.interface.interface import Input, Interface, range_of
from stages.onnx.format import ONNX
from stages.openvino import images as ir_images
from stages.openvino import library as openvino_library
from stages.openvino import unconverted, unranked
from stages.openvino.format import OPENVINO
from stages.openvino.rewrites import attention, einsums, norms, sorting, spectra
from stages.portable.vendor_errors import first_line

# Kinds that torch captured. OpenVINO does not get names from them, and no types from TorchScript.
CAPTURED = (EXPORTED, TORCHSCRIPT)
# Operators that its front end translates wrongly.
WRONG = ("aten.kthvalue.default",)
STORAGE = {"float32": False, "float16": True}


@dataclass(frozen=True)
class IrOptions:
    """The options of an IR.

    Args:
        storage: The type that weights are stored in: float32 or float16.
        edits: The requested changes to the interface.
        preprocessing: For edits that make it take raw images.
        extensions: See library.core_with.
    """

    storage: str
    edits: Edits
    preprocessing: Preprocessing | None
    extensions: Sequence[str]


def convert(source: Artifact, options: IrOptions, folder: Path) -> Artifact:
    """Converts a program to model.xml and model.bin.

    Raises:
        ConfigError: When an edit names an input or output that the model does not have.
        StageError: When OpenVINO cannot convert the program, or an edit does not fit the graph.
        CheckFailed: When the IR's interface, read back, is not the requested one.
    """
    interface = Interface.read(source)
    edits = options.edits.on(interface)
    model = _converted(source, interface, options.extensions)
    _name(model, interface, by_name=source.kind == ONNX)
    _reshape(model, {n: _shape(s, interface) for n, s in interface.inputs.items()})
    _edit(model, interface, edits, options.preprocessing)
    attention.mask(model)
    einsums.fold_operands(model, openvino_library.core_with(options.extensions))
    sorting.make_stable(model)
    route = "direct" if source.kind in CAPTURED else str(source.kind)
    actual = _with_inferred_sizes(edits.edited(interface), model)
    # An IR does not record the ONNX opset. Without it here, equal IRs from several opsets are one artifact, and the
    # stages after them run once.
    facts = {**actual.facts, **edits.facts, "route": route, "storage": options.storage, "opset": None}
    path = write(model, carried(source.facts, facts), folder, storage=options.storage, keeping=actual.inputs)
    written = _read(path, options.extensions)
    says = "; ".join(filter(None, [_read_back(written, actual), _stored(written, options.storage)]))
    return Artifact(OPENVINO, folder, facts=facts, notes={"says": says})


def write(
    model: Any,
    facts: Mapping[str, Any],
    folder: Path,
    *,
    storage: str = "float32",
    keeping: Collection[str] = (),
    kind: Kind = OPENVINO,
) -> Path:
    """Writes model.xml and model.bin, or the file names of the kind, with facts in the rt_info and reproducible names.

    Args:
        model: An openvino.Model.
        facts: Plain JSON by name.
        folder: The folder for the files.
        storage: The type that floating-point weights are stored in.
        keeping: Names that must not change, though they look as if they had a counter.
        kind: The kind of artifact.
    """
    for name, value in facts.items():
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        model.set_rt_info(text, ["drydock", name])
    _rename_numbered(model, keeping)
    path = folder / kind.file
    # Always set: by default OpenVINO stores weights in float16.
    openvino_library.load().save_model(model, path, compress_to_fp16=STORAGE[storage])
    return path


def _read(path: Path, extensions: Sequence[str]) -> Any:
    core = openvino_library.core_with(extensions)
    try:
        return core.read_model(path)
    except Exception as e:  # OpenVINO raises anything
        raise StageError(
            f"OpenVINO cannot read the IR back: {first_line(e)}",
            allowed="operations that it has, and those whose class or library target.extensions names beside the rule",
        ) from e


def _with_inferred_sizes(interface: Interface, model: Any) -> Interface:
    """The interface with the output sizes that OpenVINO infers: a reshape of the inputs changes them."""
    outputs = {}
    for port, (name, output) in zip(model.outputs, interface.outputs.items(), strict=True):
        shape = list(output.shape)
        if port.partial_shape.rank.is_static:
            if len(port.partial_shape) != len(shape):
                raise CheckFailed(
                    f"output '{name}' has {len(port.partial_shape)} dimensions in OpenVINO, the model's {len(shape)}",
                    command="another route or capture; the same by other operators in the model",
                )
            inferred = [d.get_length() if d.is_static else None for d in port.partial_shape]
            shape = [
                old if new is None and isinstance(old, str) else new for old, new in zip(shape, inferred, strict=True)
            ]
        outputs[name] = replace(output, shape=shape)
    return replace(interface, outputs=outputs)


def _stored(model: Any, storage: str) -> str:
    """How many bytes of weights stay in float32 although float16 was requested, in words; empty for next to none.

    OpenVINO keeps weights in float32 that float16 cannot represent. Raises CheckFailed when these are the majority.
    """
    if not STORAGE[storage]:
        return ""
    counts = {"f16": 0, "f32": 0}
    for op in model.get_ordered_ops():
        if op.get_type_name() == "Constant" and (kind := op.get_element_type().to_string()) in counts:
            counts[kind] += op.get_byte_size()
    if counts["f32"] > counts["f16"]:
        raise CheckFailed(
            f"asked to store weights in float16, OpenVINO left {counts['f32']:,} bytes of them in float32",
            allowed="weights within ±65504, which float16 can hold",
            command="precision=fp32",
        )
    return f"{counts['f32']:,} bytes of weights stay in float32" if counts["f32"] > counts["f16"] // 100 else ""


def _converted(source: Artifact, interface: Interface, extensions: Sequence[str]) -> Any:
    extension_objects = openvino_library.load_extensions(extensions)
    if source.kind == FILE:
        return openvino_library.read(file_formats.file_of(source), file_formats.format_of(source).says, extensions)
    if source.kind in CAPTURED:
        program = programs.load(source)
        shapes = [(_shape(s, interface), _type(s.dtype)) for s in interface.inputs.values()]
        if source.kind == EXPORTED:
            return _exported(program, extension_objects, input=shapes)
        return _reported(program, extension_objects, input=shapes)
    with spectra.rewritten(source.file) as graph:
        try:
            model = openvino_library.convert(graph, extension_objects)
        except Exception as e:  # its front ends raise anything
            raise unranked.explain(unconverted.report(graph, e), e, graph, interface, extension_objects) from e
    norms.without_epsilon(model, source.file)
    return model


def _exported(program: Any, extensions: Sequence[Any], **how: Any) -> Any:
    """The model of a torch.export program. Operators that OpenVINO lacks are decomposed first, where that helps."""
    table = {**decompositions.composite(), **decompositions.by_name(WRONG)}
    first: Exception | None = None
    while True:
        try:
            return openvino_library.convert(_with_decompositions(program, table), extensions, **how)
        except Exception as e:  # as below
            first = first or e
            more = decompositions.by_name(unconverted.operators(e))
            if not more.keys() - table.keys():
                raise unconverted.report(program, first) from first  # the first error names the model's own operators
            table |= more


def _with_decompositions(program: Any, table: Mapping[Any, Any]) -> Any:
    """A copy of a torch.export program that decomposes more operators, and returns no tensor twice.

    OpenVINO's front end calls the program's own run_decompositions, and refuses a program that returns a tensor twice.
    """
    import torch

    stand_in, aten = copy.copy(program), torch.ops.aten
    handing_on = (aten.alias.default, aten.clone.default, aten.detach.default, aten.lift_fresh_copy.default)

    def run_decompositions(theirs: Mapping[Any, Any]) -> Any:
        result = program.run_decompositions({**theirs, **table})
        programs.own_outputs(result, [(aten.unsqueeze.default, 0), (aten.squeeze.dims, [0])], handing_on)
        return result

    stand_in.run_decompositions = run_decompositions
    return stand_in


def _reported(program: Any, extensions: Sequence[Any], **how: Any) -> Any:
    try:
        return openvino_library.convert(program, extensions, **how)
    except Exception as e:  # its front ends raise anything
        raise unconverted.report(program, e) from e


def _shape(spec: Input, interface: Interface) -> Any:
    """The partial shape of an input: fixed dimensions, and dynamic ones with their bounds."""
    openvino = openvino_library.load()
    dims = interface.dims

    def size(d: Any) -> Any:
        if isinstance(d, str):
            return openvino.Dimension(range_of(d, dims).min, range_of(d, dims).max)
        return openvino.Dimension(-1) if d is None else openvino.Dimension(d)

    return openvino.PartialShape([size(d) for d in spec.shape])


def _type(dtype: str) -> Any:
    import numpy as np

    return openvino_library.load().Type(np.dtype(dtype))


def _name(model: Any, interface: Interface, *, by_name: bool) -> None:
    """Gives inputs and outputs the interface's names. OpenVINO keeps the names of an ONNX graph, else only the order.

    The values inside a captured program have numbers as names. These are removed: a compiler that removes an operation
    may give such a name to an output.
    """
    if len(model.inputs) != len(interface.inputs) or len(model.outputs) != len(interface.outputs):
        raise StageError(
            f"OpenVINO's model has {len(model.inputs)} inputs and {len(model.outputs)} outputs; "
            f"the model has {listed(interface.inputs)} and {listed(interface.outputs)}"
        )
    if not by_name:
        for value in (v for op in model.get_ordered_ops() for v in op.outputs()):
            value.get_tensor().set_names(set())
    for place, name in enumerate(interface.inputs):
        port = model.input(name) if by_name else model.inputs[place]
        port.get_tensor().set_names({name})
        port.get_node().set_friendly_name(name)
    _part_outputs(model)
    for port, name in zip(model.outputs, interface.outputs, strict=True):
        port.get_tensor().set_names({name})


def _part_outputs(model: Any) -> None:
    """Gives each output its own tensor: an output that is also an input, or returned twice, would share its names."""
    from openvino import opset16

    sources = set(model.inputs)
    for result in model.get_results():
        if (source := result.input_value(0)) in sources:
            result.input(0).replace_source_output(opset16.identity(source).output(0))
        sources.add(source)
    model.validate_nodes_and_infer_types()


def _reshape(model: Any, shapes: Mapping[str, Any]) -> None:
    try:
        model.reshape(dict(shapes))
    except Exception as e:  # shape inference raises anything
        raise _refused(model, shapes, e) from e


def _refused(model: Any, shapes: Mapping[str, Any], error: Exception) -> StageError:
    """The error for shapes that the graph does not accept: it names the inputs, tried one by one, and the node."""
    culprits = []
    for name, shape in shapes.items():
        try:
            model.clone().reshape({name: shape})
        except Exception:  # as above
            culprits.append(name)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    node = re.search(r"with friendly_name '([^']*)'", str(error))
    return StageError(
        f"the graph does not take {listed(f'{n} {shapes[n]}' for n in culprits or shapes)}"
        + (f": node '{node[1]}' refuses" if node else "")
        + f"\n    {lines[-1] if lines else type(error).__name__}",
        allowed="shapes that the model's forward accepts",
        command="another stages.compile.edits.reshape, or model.inputs.NAME.shape",
    )


def _edit(model: Any, interface: Interface, edits: Edits, preprocessing: Preprocessing | None) -> None:
    if edits.outputs is not None:
        for result in [p.get_node() for p in model.outputs if p.any_name not in edits.outputs]:
            model.remove_result(result)
    if edits.reshape:
        plain = replace(edits, names={}, dtypes={}, layouts={}, images=None).edited(interface)
        _reshape(model, {n: _shape(s, plain) for n, s in plain.inputs.items()})
    if edits.dtypes or edits.layouts or edits.images:
        _preprocess(model, interface, edits, preprocessing)
    for port in (*model.inputs, *model.outputs):
        port.get_tensor().set_names({edits.name(port.any_name)})
    for port in model.inputs:
        port.get_node().set_friendly_name(port.any_name)


def _preprocess(model: Any, interface: Interface, edits: Edits, preprocessing: Preprocessing | None) -> None:
    """Applies the edits to types, layouts and images with OpenVINO's PrePostProcessor, around the graph."""
    openvino = openvino_library.load()
    steps = openvino.preprocess.PrePostProcessor(model)
    for name in [p.any_name for p in (*model.inputs, *model.outputs)]:
        port = steps.input(name) if name in interface.inputs else steps.output(name)
        if name in edits.dtypes:
            port.tensor().set_element_type(_type(edits.dtypes[name]))
        if name in edits.layouts:
            was, _, becomes = edits.layouts[name].partition("->")
            port.model().set_layout(openvino.Layout(was))
            port.tensor().set_layout(openvino.Layout(becomes or was))
    if edits.images is not None:
        assert preprocessing is not None
        assert edits.images.input is not None
        spec = interface.inputs[edits.images.input]
        ir_images.put_in_front(steps.input(edits.images.input), spec, edits.images, preprocessing)
    try:
        steps.build()
    except Exception as e:  # it raises anything
        raise StageError(f"OpenVINO cannot put the edits in front of the graph: {str(e).strip()}") from e


def _read_back(model: Any, interface: Interface) -> str:
    """The IR's inputs in words. Raises CheckFailed where its interface is not the requested one."""
    for what, ports, expected in (
        ("inputs", model.inputs, interface.inputs),
        ("outputs", model.outputs, interface.outputs),
    ):
        if (names := [p.any_name for p in ports]) != list(expected):
            raise CheckFailed(f"the IR's {what} are {listed(names)}; asked for were {listed(expected)}")
    says = []
    for name, spec in interface.inputs.items():
        port = model.input(name)
        if (got := port.element_type.to_dtype().name) != spec.dtype and port.element_type != _type(spec.dtype):
            raise CheckFailed(f"input '{name}' was asked for as {spec.dtype} and is {got}")
        bounded = _shape(spec, interface)
        for axis, (size, bounds, expected_dim) in enumerate(zip(port.partial_shape, bounded, spec.shape, strict=True)):
            if size != bounds or size.is_static != isinstance(expected_dim, int):
                raise CheckFailed(f"dimension {axis} of input '{name}' was asked for as {expected_dim} and is {size}")
        says.append(f"{name} {port.partial_shape}" + (f" {spec.dtype}" if spec.dtype == "uint8" else ""))
    return ", ".join(says)


def _rename_numbered(model: Any, reserved: Collection[str] = ()) -> None:
    """Renames nodes that OpenVINO named with a counter of the process: the bytes must not depend on what ran before.

    Args:
        model: The graph, or one inside an operator.
        reserved: Names that only look so and must stay: those of its inputs, or of the graph it was made from.
    """
    if re.fullmatch(r"Model\d+", model.get_friendly_name()):
        model.set_friendly_name("Model")
    for place, op in enumerate(model.get_ordered_ops()):
        if re.fullmatch(r"[A-Z][A-Za-z0-9]*_\d+", op.get_friendly_name()) and op.get_friendly_name() not in reserved:
            name = f"{op.get_type_name()}_{place}"
            op.set_friendly_name(f"{name}_new" if name in reserved else name)
        for body in bodies(op):
            _rename_numbered(body)


def bodies(op: Any) -> list[Any]:
    """The graphs inside an operator: an If's branches, the body of a Loop."""
    if op.get_type_name() == "If":
        return [op.get_then_body(), op.get_else_body()]
    return [op.get_function()] if op.get_type_name() in ("Loop", "TensorIterator") else []
