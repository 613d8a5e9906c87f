"""Conversions of a module by the stages, and readers of the resulting files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
from harness import BATCH, module, record, reference_in, run_stage, shipped, tolerance, world
from torch import nn

from pipeline.artifact import Artifact, Origin
from pipeline.stage import Stage
from stages.capture.capture_export import CaptureExport
from stages.capture.capture_script import CaptureScript
from stages.capture.capture_trace import CaptureTrace
from stages.checking.check import Check
from stages.interface.edits import NOTHING, Edits
from stages.interface.images import Preprocessing
from stages.interface.interface import Dim, Input
from stages.loading.open_file import OpenFile
from stages.onnx import file as onnx_file
from stages.onnx.export_onnx import ExportOnnx
from stages.onnx.export_torchscript import ExportTorchscript
from stages.onnx.format import ONNX
from stages.openvino.compile_openvino import CompileOpenvino


def opened(
    path: Path,
    folder: Path,
    *,
    sha256: str | None = None,
    names: Mapping[str, str] | None = None,
    inputs: Mapping[str, Input] | None = None,
    dims: Mapping[str, Dim] = BATCH,
) -> Artifact:
    """A file of another framework as an artifact, in `folder`/opened."""
    stage = OpenFile(str(path), sha256, dict(names or {}), inputs and dict(inputs), dict(dims), []).settle(
        world(folder)
    )
    return run_stage(stage, {}, folder / "opened")


def capture(how: str, net: nn.Module | Artifact, folder: Path, **interface: Any) -> Artifact:
    """A module captured by export, trace or script, with its reference in `folder`/reference."""
    stage = {"export": CaptureExport(2**30), "trace": CaptureTrace(), "script": CaptureScript()}[how]
    reference = record(net, folder / "reference", **interface)
    inputs = {"module": net if isinstance(net, Artifact) else module(net), "reference": reference}
    return run_stage(stage, inputs, folder / how)


def export(how: str, net: nn.Module | Artifact, folder: Path, *, opset: int = 18, **interface: Any) -> Artifact:
    """The ONNX graph of a module through a capture, with its reference in `folder`/reference."""
    program = capture(how, net, folder, **interface)
    if how == "export":
        return run_stage(ExportOnnx(opset, {}, False), program, folder / "graph")
    inputs = {"program": program, "reference": reference_in(folder)}
    return run_stage(ExportTorchscript(opset, {}, False), inputs, folder / "graph")


def ir(
    program: Artifact,
    folder: Path,
    *,
    storage: str = "float32",
    preprocessing: Preprocessing | None = None,
    extensions: Sequence[str] = (),
    **edits: Any,
) -> Artifact:
    """The OpenVINO IR of a captured program, an ONNX graph or a file, with edits to its interface."""
    stage = CompileOpenvino(storage, Edits(**{**vars(NOTHING), **edits}), preprocessing, list(extensions))
    return run_stage(stage, program, folder)


def coreml(
    program: Artifact, folder: Path, *, target: str = "iOS18", compute: str = "float32", **settings: Any
) -> Artifact:
    """The Core ML package of a captured program."""
    stage = shipped("compile_coreml", deployment_target=target, compute=compute, **settings)
    return run_stage(stage, program, folder)


def checked(artifact: Artifact, reference: Artifact, folder: Path) -> Artifact:
    """An artifact that was checked with the tolerances that ship for float32."""
    stage = Check("float32", {}, [], tolerance("fp32"), False)
    return run_stage(stage, {"artifact": artifact, "reference": reference}, folder / "check")


def agrees(graph: Artifact, folder: Path) -> None:
    """Checks a graph with these tolerances against the reference that was recorded in `folder`."""
    checked(graph, reference_in(folder), folder)


def edited(graph: Artifact, folder: Path, change: Callable[[onnx.ModelProto], Any]) -> Artifact:
    """A copy of an ONNX artifact, changed by a function."""
    model = onnx_file.read(graph.file)
    change(model)
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    return replace(graph, folder=folder)


def quantized(graph: Artifact, samples: Artifact, folder: Path, **settings: Any) -> Artifact:
    """A graph in int8, with the stage's default settings."""
    return run_stage(shipped("quantize", **settings), {"graph": graph, "samples": samples}, folder)


def compressed(graph: Artifact, folder: Path, *, samples: Artifact | None = None, **settings: Any) -> Artifact:
    """A graph with weights in 8 bits, or by other settings."""
    inputs = {"graph": graph, **({"samples": samples} if samples else {})}
    return run_stage(compress_weights(**settings), inputs, folder)


def compress_weights(**settings: Any) -> Stage:
    """The stage with 8 bits or the settings of precision=int4_weights, and any other setting."""
    four = str(settings.get("mode", "")).startswith("int4")
    blocks = {"group_size": 64, "ratio": 1.0, "all_layers": False} if four else {}
    return shipped("compress_weights", **{**blocks, **settings})


def made_of(artifact: Artifact, source: Artifact, stage: str = "quantize") -> Artifact:
    """An artifact as the runner passes it to a stage: with its origin."""
    return replace(artifact, origin=Origin(stage, lambda: source))


def provenance(artifact: Artifact) -> dict[str, Any]:
    """The record in an artifact's own file."""
    if artifact.kind == ONNX:
        properties = onnx.load(artifact.file, load_external_data=False).metadata_props
        entries = {p.key.removeprefix("drydock."): p.value for p in properties}
    else:
        import openvino

        rt_info = openvino.Core().read_model(artifact.file).get_rt_info("drydock")
        entries = dict(rt_info.value)
    return {name: json.loads(text) if text[:1] in "[{" else text for name, text in entries.items()}


def ports(artifact: Artifact) -> dict[str, str]:
    """The inputs and outputs of an artifact's file: type and shape by name."""
    if artifact.kind == ONNX:
        graph = onnx.load(artifact.file, load_external_data=False).graph
        types = {p.name: p.type.tensor_type for p in (*graph.input, *graph.output)}
        sizes = {name: [d.dim_param or d.dim_value for d in t.shape.dim] for name, t in types.items()}
        return {name: f"{t.elem_type}{sizes[name]}" for name, t in types.items()}
    import openvino

    model = openvino.Core().read_model(artifact.file)
    return {p.any_name: f"{p.element_type.to_string()}{p.partial_shape}" for p in (*model.inputs, *model.outputs)}
