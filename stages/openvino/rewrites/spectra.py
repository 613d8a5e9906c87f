"""Rewrites short-time Fourier transforms (STFT) of an ONNX graph as convolutions, for OpenVINO's reader.

It refuses an STFT of a signal of dynamic length, and crashes the process where the rank is computed (2026.4.1). The
transform of each frame is a product with cosines and sines, so the STFT is a convolution.

Source: https://onnx.ai/onnx/operators/onnx__STFT.html
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import StageError
from stages.onnx import file as onnx_file

FIXED = "a real signal, with a step, a window and a length that the graph has as constants"


@contextlib.contextmanager
def as_convolutions(path: Path) -> Iterator[Path]:
    """The graph's file, or a temporary one without STFT.

    Raises:
        StageError: When a transform's step, window or length is computed, or its signal is complex.
    """
    if not any(node.op_type == "STFT" for node in onnx_file.read(path, weights=False).graph.node):
        yield path
        return
    model = onnx_file.read(path)
    constants = {i.name: i for i in model.graph.initializer}
    constants |= {n.output[0]: a.t for n in model.graph.node if n.op_type == "Constant" for a in n.attribute}
    nodes = list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        model.graph.node.extend(_convolved(node, constants, model.graph) if node.op_type == "STFT" else [node])
    with tempfile.TemporaryDirectory() as folder:
        yield onnx_file.write(model, Path(folder))


def _convolved(node: Any, constants: Mapping[str, Any], graph: Any) -> list[Any]:
    """The nodes for one STFT: [batch, samples, 1] to [batch, frames, bins, 2]."""
    import numpy as np
    from onnx import helper, numpy_helper

    signal, step, window, length = [*node.input, "", ""][:4]
    name = node.output[0]
    if unknown := [i for i in (step, window, length) if i and i not in constants]:
        raise StageError(f"OpenVINO cannot convert the STFT '{name}': '{unknown[0]}' is computed", allowed=FIXED)
    arrays = {i: numpy_helper.to_array(constants[i]) for i in (step, window, length) if i}
    if not (window or length):
        raise StageError(f"OpenVINO cannot convert the STFT '{name}': it has neither window nor length", allowed=FIXED)
    size = int(arrays[length]) if length else len(arrays[window])
    weighting = arrays[window].astype(np.float64) if window else np.ones(size)
    onesided = next((a.i for a in node.attribute if a.name == "onesided"), 1)
    angles = 2 * np.pi * np.outer(np.arange(size // 2 + 1 if onesided else size), np.arange(size)) / size
    waves = (np.concatenate([np.cos(angles), -np.sin(angles)]) * weighting).astype(np.float32)[:, None]
    initialisers = {
        "last": np.array([2], np.int64),
        "row": np.array([1], np.int64),
        "waves": waves,
        "parts": np.array([0, 2, len(angles), -1], np.int64),
    }
    graph.initializer.extend(numpy_helper.from_array(v, f"{name}_{what}") for what, v in initialisers.items())
    steps: list[tuple[str, list[str], dict[str, Any]]] = [
        ("Squeeze", ["last"], {}),  # it refuses a complex signal
        ("Unsqueeze", ["row"], {}),
        ("Conv", ["waves"], {"strides": [int(arrays[step])]}),
        ("Reshape", ["parts"], {}),
        ("Transpose", [], {"perm": [0, 3, 2, 1]}),
    ]
    nodes = []
    for place, (kind, others, how) in enumerate(steps):
        result = name if place == len(steps) - 1 else f"{name}_{kind}"
        nodes.append(helper.make_node(kind, [signal, *(f"{name}_{o}" for o in others)], [result], result, **how))
        signal = result
    return nodes
