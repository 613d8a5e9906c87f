"""Exports a traced module to ONNX with torch's TorchScript exporter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from pipeline.artifact import FILES, Artifact, Kind
from pipeline.errors import CheckFailed, Problem
from pipeline.stage import Stage, World
from stages import _interface, _native_output, _onnx_file, _opsets, _translations, _unsupported
from stages._interface import Dim, Input
from stages._outputs import named

OPSETS = _opsets.TORCHSCRIPT


@dataclass(frozen=True)
class ExportTorchscript(Stage):
    """torch.onnx.export(dynamo=False) on a traced module: the only way to opsets below 18.

    Args:
        translations: Operator, such as my_ns::my_op, to the dotted path of a symbolic function that is used for it.
        keep_source: Whether nodes keep the stack traces of the model's code, absolute paths and all.

    Source: https://docs.pytorch.org/docs/stable/onnx_torchscript.html
    """

    opset: int
    inputs: dict[str, Input]
    dims: dict[str, Dim]
    outputs: list[str]
    seed: int
    translations: dict[str, str]
    keep_source: bool

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"program": frozenset({Kind.TORCHSCRIPT})}
    produces: ClassVar[Kind | str] = Kind.ONNX
    requires: ClassVar[tuple[str, ...]] = ("torch", "numpy", "onnx")

    def problems(self) -> list[Problem]:
        found = _translations.problems(self.translations, overloads=False)
        if self.opset in OPSETS:
            return found
        higher = "; capture=export writes 18 to 26" if self.opset >= OPSETS.stop else ""
        return [
            *found,
            Problem(
                f"opset is {self.opset}, which the TorchScript exporter does not write",
                allowed=f"{OPSETS.start} to {OPSETS.stop - 1}{higher}",
                command=f"opset={self.opset} capture=export" if higher else f"opset={OPSETS.start}",
            ),
        ]

    def settle(self, world: World) -> Self:
        _translations.settle(self.translations, world)
        return self

    def identity(self, world: World) -> Mapping[str, Any]:
        return {**asdict(self), "translations": _translations.identity(self.translations, world)}

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        import torch

        source = inputs["program"]
        # Never the live trace: the exporter inlines it, and a second export of it would differ from this one.
        with _native_output.to_log():
            traced = _translations.load(lambda: torch.jit.load(str(source.file)), source.facts)  # type: ignore[no-untyped-call]
        example = self._arguments(_interface.example_sizes(self.dims))
        path = folder / FILES[Kind.ONNX]
        axes = self._dynamic_axes(traced)
        with (
            _native_output.to_log(),
            _translations.for_torchscript(self.translations, self.opset),
            _unsupported.by_torchscript(traced, self.opset),
        ):
            torch.onnx.export(
                traced,
                example,
                str(path),
                dynamo=False,
                opset_version=self.opset,
                input_names=list(self.inputs),
                output_names=self.outputs,
                dynamic_axes=axes,
                verbose=self.keep_source,  # what it prints then is the graph; nodes get their lines of code
            )
        model = _onnx_file.read(path)
        for leftover in folder.iterdir():  # weights written one file each when they exceed one protobuf
            leftover.unlink()
        if not self.keep_source:
            _onnx_file.strip(model)
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
