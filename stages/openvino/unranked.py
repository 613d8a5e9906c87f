"""Explains graphs in which a dynamic size decides the rank of a value, and finds a fixed size that helps.

OpenVINO must know every rank. torch exports `squeeze` of a dynamic size as an If: one branch removes a dimension, the
other does not.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.errors import StageError
from stages.interface import typed
from stages.interface.interface import Interface
from stages.onnx import file as onnx_file
from stages.onnx.opening import dimensions
from stages.openvino import library as openvino_library

MESSAGE = "rank().is_static()"  # part of OpenVINO 2026.4's message
MOST_BYTES = 2**28  # of a graph that is converted again for a suggestion


def explain(
    report: StageError, error: Exception, graph: Path, interface: Interface, extensions: Sequence[Any]
) -> StageError:
    """The error, with the dynamic dimension to replace by a number, where a single one is enough.

    Args:
        report: The error to raise.
        error: OpenVINO's error.
        graph: The ONNX file.
        interface: The model's.
        extensions: From library.load_extensions.
    """
    if MESSAGE not in str(error) or graph.stat().st_size > MOST_BYTES:
        return report
    for name, dim in interface.dims.items():
        if not _converts(graph, interface, name, dim.opt, extensions):
            continue
        # `model.inputs={…}` replaces an earlier one, so it must list all inputs with dynamic dimensions.
        open_ = {n: s for n, s in interface.inputs.items() if s.axes}
        sized = {n: replace(s, shape=[dim.opt if d == name else d for d in s.shape]) for n, s in open_.items()}
        (problem,) = report.problems
        what = f"{problem.what}\n    the rank of a value depends on {name}, and OpenVINO must know every rank"
        command = f"a number instead: {typed.inputs(sized)} '~model.dims.{name}'"
        return StageError(replace(problem, what=what, command=command))
    return report


def _converts(graph: Path, interface: Interface, name: str, size: int, extensions: Sequence[Any]) -> bool:
    model = onnx_file.read(graph)
    for value in model.graph.input:
        if value.name in interface.inputs:
            for dim, ours in zip(value.type.tensor_type.shape.dim, interface.inputs[value.name].shape, strict=True):
                if ours == name:
                    dim.dim_value = size
    dimensions.infer(model)
    with tempfile.TemporaryDirectory() as folder:
        path = onnx_file.write(model, Path(folder))
        try:
            openvino_library.convert(path, extensions)
        except Exception:  # the same error, or another
            return False
    return True
