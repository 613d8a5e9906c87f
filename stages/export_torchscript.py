"""Exports a traced module to ONNX with torch's TorchScript exporter."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pipeline.artifact import FILES, Artifact, Kind
from pipeline.errors import CheckFailed, Problem, StageError
from pipeline.stage import Stage
from stages import _interface, _native_output, _onnx_file, _symbolics
from stages._interface import Dim, Input
from stages._outputs import named

# What the exporter of the pinned torch writes (torch.onnx._constants.ONNX_TORCHSCRIPT_EXPORTER_MAX_OPSET).
OPSETS = range(7, 24)


@dataclass(frozen=True)
class ExportTorchscript(Stage):
    """torch.onnx.export(dynamo=False) on a traced module: the only way to opsets below 18.

    Source: https://docs.pytorch.org/docs/stable/onnx_torchscript.html
    """

    opset: int
    inputs: dict[str, Input]
    dims: dict[str, Dim]
    outputs: list[str]
    seed: int

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"program": frozenset({Kind.TORCHSCRIPT})}
    produces: ClassVar[Kind | str] = Kind.ONNX
    requires: ClassVar[tuple[str, ...]] = ("torch", "numpy", "onnx")

    def problems(self) -> list[Problem]:
        if self.opset in OPSETS:
            return []
        higher = "; capture=export writes 18 to 26" if self.opset >= OPSETS.stop else ""
        return [
            Problem(
                f"opset is {self.opset}, which the TorchScript exporter does not write",
                allowed=f"{OPSETS.start} to {OPSETS.stop - 1}{higher}",
                command=f"opset={self.opset} capture=export" if higher else f"opset={OPSETS.start}",
            )
        ]

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        import torch

        source = inputs["program"]
        # Never the live trace: the exporter inlines it, and a second export of it would differ from this one.
        traced = torch.jit.load(str(source.file))  # type: ignore[no-untyped-call]
        example = self._arguments(_interface.example_sizes(self.dims))
        path = folder / FILES[Kind.ONNX]
        axes = self._dynamic_axes(traced)
        with _symbolics.registered(self.opset), _explained(), _native_output.to_log():
            torch.onnx.export(
                traced,
                example,
                str(path),
                dynamo=False,
                opset_version=self.opset,
                input_names=list(self.inputs),
                output_names=self.outputs,
                dynamic_axes=axes,
            )
        model = _onnx_file.read(path)
        for leftover in folder.iterdir():  # weights written one file each when they exceed one protobuf
            leftover.unlink()
        _onnx_file.stamp(model, source.facts)
        _onnx_file.write(model, folder)
        _onnx_file.hold_to(model, wanted_opset=self.opset, inputs=self.inputs, outputs=self.outputs)
        says = f"opset {self.opset}, {len(model.graph.node)} nodes"
        return Artifact(Kind.ONNX, folder, facts={"opset": self.opset}, notes={"says": says})

    def _arguments(self, sizes: Mapping[str, int]) -> tuple[Any, ...]:
        import torch

        return tuple(torch.from_numpy(v) for v in _interface.draw(self.inputs, sizes, self.seed).values())

    def _dynamic_axes(self, traced: Any) -> dict[str, dict[int, str]]:
        """Names for the dynamic axes of inputs and outputs; an output's are found by changing one size at a time."""
        axes = {n: {i: d for i, d in enumerate(s.shape) if isinstance(d, str)} for n, s in self.inputs.items()}
        usual = _interface.example_sizes(self.dims)
        before = self._output_shapes(traced, usual)
        for dim, spec in self.dims.items():
            other = spec.max if usual[dim] != spec.max else spec.min
            if other == usual[dim]:
                continue
            try:
                after = self._output_shapes(traced, {**usual, dim: other})
            except RuntimeError as e:
                raise CheckFailed(
                    f"model.dims.{dim}: traced at {usual[dim]}, the module cannot be run at {other}: "
                    + str(e).strip().splitlines()[-1],
                    allowed="dimensions that the model's code does not fix while it is traced",
                    command="capture=export, or a number in model.inputs.NAME.shape instead of the name",
                ) from e
            for name, shape in after.items():
                changed = {i: dim for i, (a, b) in enumerate(zip(before[name], shape, strict=True)) if a != b}
                axes.setdefault(name, {}).update(changed)
        return axes

    def _output_shapes(self, traced: Any, sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        import torch

        with torch.inference_mode():
            return {n: tuple(t.shape) for n, t in named(traced(*self._arguments(sizes)), self.outputs).items()}


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """The exporter's refusal in one line; its exception otherwise comes with the whole graph."""
    import torch

    try:
        yield
    except torch.onnx.errors.OnnxExporterError as e:
        raise StageError(
            f"the TorchScript exporter cannot write this model: {str(e).splitlines()[0]}",
            command="another opset, as it says, or capture=export",
        ) from e
