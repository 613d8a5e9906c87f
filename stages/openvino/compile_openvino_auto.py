"""Compiles a module or a captured program to OpenVINO IR by the first way that serves."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Optional

from pipeline.artifact import Artifact, Kind
from pipeline.errors import Problem, listed
from pipeline.stage import SomeOf
from stages.capture import captures as capture_ways
from stages.capture import opsets, programs
from stages.capture.format import EXPORTED, TORCHSCRIPT
from stages.formats.running import COMPUTE
from stages.onnx import exporters
from stages.onnx.exporters import Options
from stages.openvino import convert as ir_conversion
from stages.openvino.settings import Ir
from stages.portable.comparison import Tolerance
from stages.reference import attempts
from stages.reference.attempts import Held
from stages.reference.tolerance import Within


@dataclass(frozen=True)
class CompileOpenvinoAuto(Ir):
    """Direct conversion, then by way of an ONNX graph; of a module, each with every capture in turn.

    A way is taken when its IR is there and agrees with the model. The facts say which route and capture served, the
    notes why the others did not.

    Args: see stages/openvino/settings.py, and:
        captures: Of a module, the captures to try, in this order.
        opset: Of the ONNX graph.
        compute: What the IR must compute in while it is held to the model.
        tolerance: How far its outputs may be from the reference.
    """

    captures: Annotated[list[str], SomeOf(opsets.OF_CAPTURE, f"some of {listed(opsets.OF_CAPTURE)}", least=1)]
    opset: Annotated[Optional[int], opsets.ANY]
    compute: Annotated[str, COMPUTE]
    tolerance: Annotated[Tolerance, Within()]

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "program": frozenset({EXPORTED, TORCHSCRIPT, Kind.MODULE}),
        "reference": frozenset({Kind.REFERENCE}),
    }
    requires: ClassVar[tuple[str, ...]] = ("numpy", "onnx", "onnxscript", "openvino", "safetensors", "torch")
    native_to: ClassVar[tuple[str, ...]] = ("processor",)

    def conflicts(self) -> Iterator[Problem]:
        yield from super().conflicts()
        if self.opset is None:
            wrong = "opset is null, as for a file, and a file has no captures to choose from"
            yield Problem(wrong, "a module", "route=onnx or route=direct")

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        captures = self.captures if inputs["program"].kind == Kind.MODULE else [""]
        ways = {
            f"route={route}" + (f" capture={capture}" if capture else ""): functools.partial(way, capture, inputs)
            for route, way in (("direct", self._direct), ("onnx", self._through_onnx))
            for capture in captures
            if route == "direct" or self.opset in self._opsets(capture, inputs["program"])
        }
        return attempts.first(ways, Held(inputs["reference"], self.tolerance, self.compute, self.extensions), folder)

    def _opsets(self, capture: str, program: Artifact) -> range:
        return opsets.OF_CAPTURE[capture or ("export" if program.kind == EXPORTED else "trace")]

    def _direct(self, capture: str, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        return self._compiled(self._program(capture, inputs, folder), folder)

    def _through_onnx(self, capture: str, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        program = self._program(capture, inputs, folder)
        graph = folder / "graph"
        graph.mkdir()
        assert self.opset is not None  # see problems
        made = exporters.to_onnx(program, inputs["reference"], self.opset, Options({}, False), graph)
        return self._compiled(replace(made, facts={**program.facts, **made.facts}, notes=program.notes), folder)

    def _program(self, capture: str, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        given = inputs["program"]
        if not capture:
            return given
        aside = folder / "captured"
        aside.mkdir()
        made = capture_ways.captured(capture, {"module": given, "reference": inputs["reference"]}, aside)
        return replace(made, facts={**given.facts, **made.facts})

    def _compiled(self, program: Artifact, folder: Path) -> Artifact:
        ir = folder / "ir"
        ir.mkdir()
        made = ir_conversion.made(program, self.wanted, ir)
        return replace(made, facts={**program.facts, **made.facts}, notes=programs.noting(made, program))
