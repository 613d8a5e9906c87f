"""torch's two ONNX exporters: the interface drives them, and their graph is verified against it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pipeline.artifact import Artifact, Kind
from pipeline.errors import CheckFailed
from pipeline.stage import Stage
from stages.capture import opsets, programs, unsupported
from stages.capture.format import EXPORTED
from stages.interface import call, fills
from stages.interface import interface as model_interface
from stages.interface.interface import Interface
from stages.onnx import file as onnx_file
from stages.onnx.exporting import names as onnx_names
from stages.onnx.exporting import optimizer, padding, registry, translations, versions
from stages.onnx.exporting.translations import Translations
from stages.onnx.format import ONNX
from stages.portable import native_output
from stages.reference import cases as reference_cases

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """Options of either exporter.

    Args:
        translations: Operator, such as my_ns::my_op, to the dotted path of the function that translates it: an
            onnxscript function for the dynamo exporter, a symbolic function for the other.
        keep_source: Whether nodes keep the stack traces of the model's code, with the names of files.
    """

    translations: Mapping[str, str]
    keep_source: bool


@dataclass(frozen=True)
class EitherExporter(Stage):
    """A stage that exports with the exporter that accepts the capture.

    Args:
        opset: The opset that the file declares; read back from it.
        translations: For the dynamo exporter: operator to the dotted path of an onnxscript function.
        symbolics: For the TorchScript exporter: operator to the dotted path of a symbolic function.
        keep_source: Whether nodes keep the stack traces of the model's code, with the names of files.
    """

    opset: Annotated[int, opsets.ANY]
    translations: Annotated[dict[str, str], Translations(overloads=True)]
    symbolics: Annotated[dict[str, str], Translations(overloads=False)]
    keep_source: bool

    produces: ClassVar[Kind | str] = ONNX

    def exported(self, capture: Artifact, reference: Artifact, folder: Path) -> Artifact:
        """The ONNX graph of a capture; see `to_onnx`."""
        names = self.translations if capture.kind == EXPORTED else self.symbolics
        return to_onnx(capture, reference, self.opset, Options(names, self.keep_source), folder)


def to_onnx(source: Artifact, reference: Artifact, opset: int, options: Options, folder: Path) -> Artifact:
    """The ONNX graph of a capture, by the exporter that accepts it; see `by_dynamo` and `by_torchscript`."""
    if source.kind == EXPORTED:
        return by_dynamo(source, opset, options, folder)
    return by_torchscript(source, reference, opset, options, folder)


def by_dynamo(source: Artifact, opset: int, options: Options, folder: Path) -> Artifact:
    """torch.onnx.export(dynamo=True) of an ExportedProgram; it folds constants and batch norms.

    Raises:
        StageError: When an operator has no translation.
        CheckFailed: When the graph's dimensions are not those of the interface.
    """
    import torch
    from onnx_ir.passes import PassError

    interface, table = Interface.read(source), translations.for_dynamo(options.translations)
    program = programs.decomposed_once(programs.load(source), table)

    def export(*, optimize: bool) -> Any:
        return torch.onnx.export(
            program,
            dynamo=True,
            opset_version=opset,
            input_names=list(interface.inputs),
            output_names=list(interface.outputs),
            dynamic_shapes=tuple(spec.axes for spec in interface.inputs.values()),
            custom_translation_table=table,
            optimize=optimize,
            verbose=False,
        )

    stumbled = ""
    with (
        native_output.to_log(),
        optimizer.exact_constants(),
        optimizer.operators_first(),
        registry.completed(),
        unsupported.by_dynamo(opset),
    ):
        try:
            exported = export(optimize=True)
        except PassError as e:  # every operator was translated, and then the optimizer failed
            log.info("torch's optimizer for ONNX failed: the graph stays as it was translated", exc_info=e)
            stumbled = ", not optimized: torch's optimizer failed on it"
            exported = export(optimize=False)
        onnx_names.free_ports(exported.model.graph)
    graph = _finished(onnx_file.of_program(exported, folder), source, opset, options, folder)
    return replace(graph, notes={"says": f"{graph.notes['says']}{stumbled}"})


def by_torchscript(source: Artifact, reference: Artifact, opset: int, options: Options, folder: Path) -> Artifact:
    """torch.onnx.export(dynamo=False) of a ScriptModule: the only way to opsets below 18.

    Args:
        source: The capture. Its facts are copied to the result.
        reference: Has the example inputs.
        opset: One of capture.opsets.BY_TORCHSCRIPT.
        options: See Options.
        folder: The folder for the result.

    Raises what by_dynamo raises.
    """
    import torch

    interface, captured = Interface.read(source), programs.load(source)
    _verify_capture(captured, interface, reference)
    axes = {n: s.axes for n, s in interface.inputs.items()}
    axes |= {
        n: {i: d or f"{n}_dim{i}" for i, d in enumerate(o.shape) if not isinstance(d, int)}
        for n, o in interface.outputs.items()
    }
    path = folder / ONNX.file
    example = next(reference_cases.read(reference)).inputs
    with (
        native_output.to_log(),
        translations.for_torchscript(options.translations, opset),
        unsupported.by_torchscript(captured, opset),
    ):
        torch.onnx.export(
            captured,
            tuple(torch.from_numpy(v) for v in example.values()),
            str(path),
            dynamo=False,
            opset_version=opset,
            input_names=list(interface.inputs),
            output_names=list(interface.outputs),
            dynamic_axes=axes,
            verbose=options.keep_source,  # it prints the graph then, and nodes get their lines of code
        )
    model = onnx_file.read(path)
    for leftover in folder.iterdir():  # weights written one file each when they exceed one protobuf
        leftover.unlink()
    onnx_names.restore_ports(model.graph, interface)
    return _finished(model, source, opset, options, folder)


def _finished(model: Any, source: Artifact, opset: int, options: Options, folder: Path) -> Artifact:
    if not options.keep_source:
        onnx_file.strip(model)
    padding.keep_apart(model)
    onnx_file.stamp(model, source.facts)
    onnx_file.unprefix(model, f"{call.INNER}.")
    interface = Interface.read(source)
    onnx_file.verify_interface(model, opset, interface)
    versions.verify(model)
    onnx_file.write(model, folder)
    return Artifact(
        ONNX,
        folder,
        facts={**interface.facts, "opset": opset},
        notes={"says": f"opset {opset}, {len(model.graph.node)} nodes"},
    )


def _verify_capture(traced: Any, interface: Interface, reference: Artifact) -> None:
    """Runs the capture with one dimension changed at a time: the output shapes show a dimension that capture fixed.

    The exporter itself would write any name on any axis. Raises CheckFailed.
    """
    import torch

    *_, largest = reference_cases.at_sizes(reference)
    usual = model_interface.example_sizes(interface.dims)
    for dim, spec in interface.dims.items():
        sizes = {**usual, dim: spec.max if usual[dim] != spec.max else spec.min}
        tensors = [
            torch.from_numpy(fills.fit(largest.inputs[n], i, i.at(sizes), n)) for n, i in interface.inputs.items()
        ]
        try:
            with torch.inference_mode():
                returned = traced(*tensors)
        except RuntimeError as e:
            raise CheckFailed(
                f"model.dims.{dim}: captured at {usual[dim]}, the module cannot be run at {sizes[dim]}: "
                + str(e).strip().splitlines()[-1],
                allowed="dimensions that the model's code does not fix while it is captured",
                command="capture=export, or a number in model.inputs.NAME.shape instead of the name",
            ) from e
        for (name, output), tensor in zip(interface.outputs.items(), returned, strict=True):
            for axis, follows in enumerate(output.shape):
                if follows == dim and tensor.shape[axis] != sizes[dim]:
                    raise CheckFailed(
                        f"model.dims.{dim}: captured at {usual[dim]} and run at {sizes[dim]}, dimension {axis} of "
                        f"output '{name}' is {tensor.shape[axis]}",
                        allowed="dimensions that the model's code does not fix while it is captured",
                        command="capture=export, or a number in model.inputs.NAME.shape instead of the name",
                    )
