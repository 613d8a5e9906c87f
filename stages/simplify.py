"""Simplifies an ONNX graph with onnxsim, and keeps the result only when it is not worse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipeline.artifact import Artifact, Kind
from pipeline.stage import Stage
from stages import _onnx_file


@dataclass(frozen=True)
class Simplify(Stage):
    """Constant folding and shape inference by onnxsim.

    The dynamo exporter already does most of this, and onnxsim can make a graph larger, so a result that has no fewer
    nodes is dropped: the graph that came in goes on, and everything after this stage is still a hit.
    Source: https://github.com/onnxsim/onnxsim
    """

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"graph": frozenset({Kind.ONNX})}
    produces: ClassVar[Kind | str] = Kind.ONNX
    requires: ClassVar[tuple[str, ...]] = ("onnx", "onnxsim")

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        import onnxsim

        source = inputs["graph"]
        model = _onnx_file.read(source.file)
        before, opset = len(model.graph.node), _onnx_file.opset(model)
        # Its own check draws inputs at one shape; the check stage after this one does better.
        simplified, _ = onnxsim.simplify(model, check_n=0)
        after = len(simplified.graph.node)
        if after >= before or _onnx_file.opset(simplified) != opset:
            return source.noting(says=f"{before} → {after} nodes, not smaller: kept as it was")
        _onnx_file.stamp(simplified, source.facts)
        _onnx_file.write(simplified, folder)
        return Artifact(Kind.ONNX, folder, notes={"says": f"{before} → {after} nodes"})
