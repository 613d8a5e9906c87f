"""Compiles an ONNX graph to OpenVINO IR."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pipeline.artifact import FILES, Artifact, Kind
from pipeline.errors import CheckFailed, Problem
from pipeline.stage import Stage
from stages import _formats, _openvino
from stages._interface import Input, Interface

STORAGE = {"float32": False, "float16": True}


@dataclass(frozen=True)
class CompileOpenvino(Stage):
    """openvino.convert_model, the interface's dimensions with their bounds, and save_model.

    Args:
        storage: What weights are stored in: float32, or float16 (half the file; what is computed in is decided where
            the model is loaded).

    Source: https://docs.openvino.ai/2026/openvino-workflow/model-preparation/convert-model-onnx.html
    """

    storage: str

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"graph": frozenset({Kind.ONNX, Kind.FILE})}
    produces: ClassVar[Kind | str] = Kind.OPENVINO
    requires: ClassVar[tuple[str, ...]] = ("openvino",)

    def problems(self) -> list[Problem]:
        if self.storage in STORAGE:
            return []
        return [Problem(f"storage is {self.storage}", allowed=" or ".join(STORAGE), command="precision=fp32 or fp16")]

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        openvino = _openvino.quiet()
        source = inputs["graph"]
        interface = Interface.of(source)
        if source.kind is Kind.FILE:
            model = _openvino.read(_formats.file_of(source), _formats.of(source).says)
        else:
            model = openvino.convert_model(source.file)
        shapes = [_bounded(openvino, spec, interface) for spec in interface.inputs.values()]
        model.reshape(dict(zip(model.inputs, shapes, strict=True)))
        for ports, names in ((model.inputs, interface.inputs), (model.outputs, interface.outputs)):
            for port, name in zip(ports, names, strict=True):
                port.get_tensor().set_names({name})
        for name, value in {**source.facts, "storage": self.storage}.items():
            text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            model.set_rt_info(text, ["drydock", name])
        _rename_numbered(model)
        path = folder / FILES[Kind.OPENVINO]
        # Never left to its default, which is to halve the weights.
        openvino.save_model(model, path, compress_to_fp16=STORAGE[self.storage])
        read_back = _read_back(openvino.Core().read_model(path), interface)
        return Artifact(Kind.OPENVINO, folder, facts={"storage": self.storage}, notes={"says": read_back})


def _bounded(openvino: Any, spec: Input, interface: Interface) -> Any:
    dims = interface.dims
    return openvino.PartialShape(
        [openvino.Dimension(dims[d].min, dims[d].max) if isinstance(d, str) else d for d in spec.shape]
    )


def _read_back(model: Any, interface: Interface) -> str:
    """The inputs' shapes as the IR has them. Raises CheckFailed when a dimension is not as it was asked for."""
    shapes = {}
    for name, spec in interface.inputs.items():
        shape = shapes[name] = model.input(name).partial_shape
        for axis, (got, asked) in enumerate(zip(shape, spec.shape, strict=True)):
            if got.is_dynamic != isinstance(asked, str):
                raise CheckFailed(f"dimension {axis} of input '{name}' was asked for as {asked} and is {got}")
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items())


def _rename_numbered(model: Any) -> None:
    """Names the operators that OpenVINO named by a counter of the process: the IR must not tell what ran before."""
    for place, op in enumerate(model.get_ordered_ops()):
        if re.fullmatch(r"[A-Z][A-Za-z0-9]*_\d+", op.get_friendly_name()):
            op.set_friendly_name(f"{op.get_type_name()}_{place}")
