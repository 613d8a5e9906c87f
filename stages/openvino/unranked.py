"""Graphs whose open sizes decide how many dimensions a value has, which OpenVINO must know: which number would help.

torch exports `squeeze` of an open size as an If: on one branch a dimension is gone, on the other it is not.
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

TOLD = "rank().is_static()"  # how OpenVINO 2026.4 says it
MOST_BYTES = 2**28  # of a graph that is converted again for a suggestion


def explained(
    told: StageError, error: Exception, graph: Path, interface: Interface, extensions: Sequence[Any]
) -> StageError:
    """The error with the open dimension that a number would have to stand for, where one alone is enough.

    Args:
        told: What is to be raised.
        error: What OpenVINO raised.
        graph: The ONNX file.
        interface: The model's.
        extensions: As library.loaded returns them.
    """
    if TOLD not in str(error) or graph.stat().st_size > MOST_BYTES:
        return told
    for name, dim in interface.dims.items():
        if not _converts(graph, interface, name, dim.opt, extensions):
            continue
        # `model.inputs={…}` takes the place of an earlier one: all inputs that may be in that.
        open_ = {n: s for n, s in interface.inputs.items() if s.axes}
        sized = {n: replace(s, shape=[dim.opt if d == name else d for d in s.shape]) for n, s in open_.items()}
        (problem,) = told.problems
        what = f"{problem.what}\n    of {name} it hangs how many dimensions a value has, and OpenVINO must know that"
        command = f"a number in its place: {typed.inputs(sized)} '~model.dims.{name}'"
        return StageError(replace(problem, what=what, command=command))
    return told


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
            openvino_library.converted(path, extensions)
        except Exception:  # as before, or for another reason
            return False
    return True
