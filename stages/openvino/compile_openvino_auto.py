"""Compiles a module or a captured program to OpenVINO IR by the first way that serves."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Optional, Self

from pipeline.artifact import Artifact, Kind
from pipeline.errors import Problem, listed
from pipeline.stage import Stage, World
from stages.capture import captures as capture_ways
from stages.capture import opsets
from stages.interface.edits import Edits
from stages.interface.images import Preprocessing
from stages.onnx import exporters
from stages.onnx.exporters import Options
from stages.openvino import convert as ir_conversion
from stages.openvino import library as openvino_library
from stages.portable.comparison import Tolerance
from stages.reference import attempts, tolerance
from stages.reference.attempts import Held


@dataclass(frozen=True)
class CompileOpenvinoAuto(Stage):
    """Direct conversion, then by way of an ONNX graph; of a module, each with every capture in turn.

    A way is taken when its IR is there and agrees with the model. The facts say which route and capture served, the
    notes why the others did not.

    Args:
        storage: See compile_openvino, whose four settings these are.
        edits: Likewise.
        preprocessing: Likewise.
        extensions: Likewise.
        captures: Of a module, the captures to try, in this order.
        opset: Of the ONNX graph.
        compute: What the IR must compute in while it is held to the model.
        tolerance: How far its outputs may be from the reference.
    """

    storage: str
    edits: Edits
    preprocessing: Optional[Preprocessing]
    extensions: list[str]
    captures: list[str]
    opset: Optional[int]
    compute: str
    tolerance: Tolerance

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "program": frozenset({Kind.EXPORTED, Kind.TORCHSCRIPT, Kind.MODULE}),
        "reference": frozenset({Kind.REFERENCE}),
    }
    produces: ClassVar[Kind | str] = Kind.OPENVINO
    requires: ClassVar[tuple[str, ...]] = ("numpy", "onnx", "onnxscript", "openvino", "safetensors", "torch")
    isolable: ClassVar[bool] = True

    def problems(self) -> list[Problem]:
        found = [*self._wanted.problems(), *tolerance.problems(self.tolerance)]
        if not self.captures or not set(self.captures) <= set(opsets.OF_CAPTURE):
            found.append(Problem(f"captures is {self.captures}", allowed=f"some of {listed(opsets.OF_CAPTURE)}"))
        if self.opset is None:
            wrong = "opset is null, as for a file, and a file has no captures to choose from"
            return [*found, Problem(wrong, allowed="a module", command="route=onnx or route=direct")]
        return found + opsets.problems(self.opset, "no exporter writes", opsets.EITHER, range(0), "")

    def files(self) -> frozenset[str]:
        return openvino_library.files(self.extensions)

    def settle(self, world: World) -> Self:
        openvino_library.identity(self.extensions, world)
        return self

    def identity(self, world: World) -> Mapping[str, Any]:
        own = {"captures": self.captures, "opset": self.opset, "compute": self.compute}
        held = {"tolerance": vars(self.tolerance), "processor": dict(world.processor())}
        return {**self._wanted.identity(world), **own, **held}

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        captures = self.captures if inputs["program"].kind is Kind.MODULE else [""]
        ways = {
            f"route={route}" + (f" capture={capture}" if capture else ""): functools.partial(way, capture, inputs)
            for route, way in (("direct", self._direct), ("onnx", self._through_onnx))
            for capture in captures
            if route == "direct" or self.opset in self._opsets(capture, inputs["program"])
        }
        return attempts.first(ways, Held(inputs["reference"], self.tolerance, self.compute, self.extensions), folder)

    def _opsets(self, capture: str, program: Artifact) -> range:
        return opsets.OF_CAPTURE[capture or ("export" if program.kind is Kind.EXPORTED else "trace")]

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
        made = ir_conversion.made(program, self._wanted, ir)
        notes = {**made.notes, "caution": program.notes.get("caution", "")}
        return replace(made, facts={**program.facts, **made.facts}, notes=notes)

    @property
    def _wanted(self) -> ir_conversion.Wanted:
        return ir_conversion.Wanted(self.storage, self.edits, self.preprocessing, self.extensions)
