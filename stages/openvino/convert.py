"""From a program to OpenVINO IR: conversion, the interface and its edits, and the files, byte for byte the same.

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
from stages.openvino import attention, sorting, spectra, unconverted, unranked
from stages.openvino import images as ir_images
from stages.openvino import library as openvino_library
from stages.openvino.format import OPENVINO
from stages.portable.said import first_line

# Kinds that torch captured; of these OpenVINO knows neither names nor, of TorchScript, types.
CAPTURED = (EXPORTED, TORCHSCRIPT)
# What its front end translates to something else.
WRONG = ("aten.kthvalue.default",)
STORAGE = {"float32": False, "float16": True}


@dataclass(frozen=True)
class Wanted:
    """What an IR is to be.

    Args:
        storage: What weights are stored in: float32 or float16.
        edits: How its interface differs from the model's.
        preprocessing: For edits that have it take raw images.
        extensions: See library.extended.
    """

    storage: str
    edits: Edits
    preprocessing: Preprocessing | None
    extensions: Sequence[str]


def made(source: Artifact, wanted: Wanted, folder: Path) -> Artifact:
    """model.xml and model.bin of a program.

    Raises:
        ConfigError: When an edit names what the model does not have.
        StageError: When OpenVINO cannot convert it, or an edit does not go with the graph.
        CheckFailed: When the IR's interface, read back, is not what was asked for.
    """
    interface = Interface.read(source)
    edits = wanted.edits.on(interface)
    model = _converted(source, interface, wanted.extensions)
    _name(model, interface, by_name=source.kind == ONNX)
    _reshape(model, {n: _shape(s, interface) for n, s in interface.inputs.items()})
    _edit(model, interface, edits, wanted.preprocessing)
    attention.mask(model)
    sorting.stable(model)
    route = "direct" if source.kind in CAPTURED else str(source.kind)
    told = _as_it_is(edits.edited(interface), model)
    # An IR has no opset: equal ones that came of graphs of several are one artifact, and what follows is done once.
    facts = {**told.facts, **edits.facts, "route": route, "storage": wanted.storage, "opset": None}
    path = write(model, carried(source.facts, facts), folder, storage=wanted.storage, keeping=told.inputs)
    written = _read(path, wanted.extensions)
    says = "; ".join(filter(None, [_read_back(written, told), _stored(written, wanted.storage)]))
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
    """model.xml and model.bin, or as the kind has it, with facts in the rt_info and no name by a counter.

    Args:
        model: An openvino.Model.
        facts: Plain JSON by name.
        folder: For the files.
        storage: What floating-point weights are stored in.
        keeping: Names that stay as they are, though they look like a counter's.
        kind: What it is.
    """
    for name, value in facts.items():
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        model.set_rt_info(text, ["drydock", name])
    _rename_numbered(model, keeping)
    path = folder / kind.file
    # Never left to its default, which is to halve the weights.
    openvino_library.quiet().save_model(model, path, compress_to_fp16=STORAGE[storage])
    return path


def _read(path: Path, extensions: Sequence[str]) -> Any:
    core = openvino_library.extended(extensions)
    try:
        return core.read_model(path)
    except Exception as e:  # OpenVINO raises anything
        raise StageError(
            f"OpenVINO cannot read the IR back: {first_line(e)}",
            allowed="operations that it has, and those whose class or library target.extensions names beside the rule",
        ) from e


def _as_it_is(interface: Interface, model: Any) -> Interface:
    """The interface with the outputs' fixed sizes as the graph infers them: a reshape changes those, too."""
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
    """How much of the weights is in float16, where that was asked for. Raises CheckFailed when it is not the most.

    OpenVINO leaves in float32 what float16 cannot hold.
    """
    if not STORAGE[storage]:
        return ""
    held = {"f16": 0, "f32": 0}
    for op in model.get_ordered_ops():
        if op.get_type_name() == "Constant" and (kind := op.get_element_type().to_string()) in held:
            held[kind] += op.get_byte_size()
    if held["f32"] > held["f16"]:
        raise CheckFailed(
            f"asked to store weights in float16, OpenVINO left {held['f32']:,} bytes of them in float32",
            allowed="weights within ±65504, which float16 can hold",
            command="precision=fp32",
        )
    return f"{held['f32']:,} bytes of weights stay in float32" if held["f32"] > held["f16"] // 100 else ""


def _converted(source: Artifact, interface: Interface, extensions: Sequence[str]) -> Any:
    known = openvino_library.loaded(extensions)
    if source.kind == FILE:
        return openvino_library.read(file_formats.file_of(source), file_formats.format_of(source).says, extensions)
    if source.kind in CAPTURED:
        program = programs.load(source)
        shapes = [(_shape(s, interface), _type(s.dtype)) for s in interface.inputs.values()]
        if source.kind == EXPORTED:
            return _exported(program, known, input=shapes)
        return _reported(program, known, input=shapes)
    with spectra.as_convolutions(source.file) as graph:
        try:
            return openvino_library.converted(graph, known)
        except Exception as e:  # its front ends raise anything
            raise unranked.explained(unconverted.report(graph, e), e, graph, interface, known) from e


def _exported(program: Any, extensions: Sequence[Any], **how: Any) -> Any:
    """The model of a torch.export program; of one in simpler operators, where OpenVINO lacks some and those serve."""
    table = {**decompositions.composite(), **decompositions.by_name(WRONG)}
    first: Exception | None = None
    while True:
        try:
            return openvino_library.converted(_taken(program, table), extensions, **how)
        except Exception as e:  # as below
            first = first or e
            more = decompositions.by_name(unconverted.operators(e))
            if not more.keys() - table.keys():
                raise unconverted.report(program, first) from first  # whose operators are the model's own
            table |= more


def _taken(program: Any, table: Mapping[Any, Any]) -> Any:
    """A torch.export program to convert in place of another, with further decompositions and outputs of their own.

    OpenVINO's front end decomposes by the program's own method, and refuses one that returns a tensor twice.
    """
    import torch

    stand_in, aten = copy.copy(program), torch.ops.aten
    handing_on = (aten.alias.default, aten.clone.default, aten.detach.default, aten.lift_fresh_copy.default)

    def run_decompositions(theirs: Mapping[Any, Any]) -> Any:
        made = program.run_decompositions({**theirs, **table})
        programs.own_outputs(made, [(aten.unsqueeze.default, 0), (aten.squeeze.dims, [0])], handing_on)
        return made

    stand_in.run_decompositions = run_decompositions
    return stand_in


def _reported(program: Any, extensions: Sequence[Any], **how: Any) -> Any:
    try:
        return openvino_library.converted(program, extensions, **how)
    except Exception as e:  # its front ends raise anything
        raise unconverted.report(program, e) from e


def _shape(spec: Input, interface: Interface) -> Any:
    """Fixed dimensions as they are, dynamic ones with their bounds."""
    openvino = openvino_library.quiet()
    dims = interface.dims

    def size(d: Any) -> Any:
        if isinstance(d, str):
            return openvino.Dimension(range_of(d, dims).min, range_of(d, dims).max)
        return openvino.Dimension(-1) if d is None else openvino.Dimension(d)

    return openvino.PartialShape([size(d) for d in spec.shape])


def _type(dtype: str) -> Any:
    import numpy as np

    return openvino_library.quiet().Type(np.dtype(dtype))


def _name(model: Any, interface: Interface, *, by_name: bool) -> None:
    """Gives inputs and outputs the interface's names; OpenVINO keeps an ONNX graph's, and otherwise the order.

    The values inside a captured program are called by their numbers, and a compiler that leaves an operation out may
    give the output such a name as well: these go.
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
    """Gives each output a tensor of its own: an input, or another output, that is returned as it is shares names."""
    from openvino import opset16

    taken = set(model.inputs)
    for result in model.get_results():
        if (source := result.input_value(0)) in taken:
            result.input(0).replace_source_output(opset16.identity(source).output(0))
        taken.add(source)
    model.validate_nodes_and_infer_types()


def _reshape(model: Any, shapes: Mapping[str, Any]) -> None:
    try:
        model.reshape(dict(shapes))
    except Exception as e:  # shape inference raises anything
        raise _refused(model, shapes, e) from e


def _refused(model: Any, shapes: Mapping[str, Any], error: Exception) -> StageError:
    """Which inputs' shapes the graph does not take, by themselves, and which node said so."""
    culprits = []
    for name, shape in shapes.items():
        try:
            model.clone().reshape({name: shape})
        except Exception:  # as above
            culprits.append(name)
    told = [line.strip() for line in str(error).splitlines() if line.strip()]
    node = re.search(r"with friendly_name '([^']*)'", str(error))
    return StageError(
        f"the graph does not take {listed(f'{n} {shapes[n]}' for n in culprits or shapes)}"
        + (f": node '{node[1]}' refuses" if node else "")
        + f"\n    {told[-1] if told else type(error).__name__}",
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
    """Types, layouts and images, by OpenVINO's PrePostProcessor, which puts them around the graph."""
    openvino = openvino_library.quiet()
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
    """The inputs as the IR has them. Raises CheckFailed for what is not as it was asked for."""
    for what, ports, named in (
        ("inputs", model.inputs, interface.inputs),
        ("outputs", model.outputs, interface.outputs),
    ):
        if (found := [p.any_name for p in ports]) != list(named):
            raise CheckFailed(f"the IR's {what} are {listed(found)}; asked for were {listed(named)}")
    says = []
    for name, spec in interface.inputs.items():
        port = model.input(name)
        if (got := port.element_type.to_dtype().name) != spec.dtype and port.element_type != _type(spec.dtype):
            raise CheckFailed(f"input '{name}' was asked for as {spec.dtype} and is {got}")
        bounded = _shape(spec, interface)
        for axis, (size, bounds, asked) in enumerate(zip(port.partial_shape, bounded, spec.shape, strict=True)):
            if size != bounds or size.is_static != isinstance(asked, int):
                raise CheckFailed(f"dimension {axis} of input '{name}' was asked for as {asked} and is {size}")
        says.append(f"{name} {port.partial_shape}" + (f" {spec.dtype}" if spec.dtype == "uint8" else ""))
    return ", ".join(says)


def _rename_numbered(model: Any, given: Collection[str] = ()) -> None:
    """Names what OpenVINO named by a counter of the process: the IR must not tell what ran before.

    Args:
        model: The graph, or one inside an operator.
        given: Names that look like that and are none: of its inputs, or of a graph that this one was made of.
    """
    if re.fullmatch(r"Model\d+", model.get_friendly_name()):
        model.set_friendly_name("Model")
    for place, op in enumerate(model.get_ordered_ops()):
        if re.fullmatch(r"[A-Z][A-Za-z0-9]*_\d+", op.get_friendly_name()) and op.get_friendly_name() not in given:
            name = f"{op.get_type_name()}_{place}"
            op.set_friendly_name(f"{name}_new" if name in given else name)
        for body in bodies(op):
            _rename_numbered(body)


def bodies(op: Any) -> list[Any]:
    """The graphs inside an operator: an If's branches, the body of a Loop."""
    if op.get_type_name() == "If":
        return [op.get_then_body(), op.get_else_body()]
    return [op.get_function()] if op.get_type_name() in ("Loop", "TensorIterator") else []
