"""Rewrites Fourier transforms of an ONNX graph, for OpenVINO's reader (2026.4.1).

It refuses an STFT of a signal of dynamic length, and crashes the process where the rank is computed. The transform of
each frame is a product with cosines and sines, so the STFT is a convolution.

It reads a onesided DFT of real numbers with the last dimension, which is 1: [2, 8, 1] becomes [2, 5, 1, 2] instead of
[2, 5, 2]. A transform that is not onesided is read right, and the half of it is what was asked for. The inverse loses
its last dimension. Of a DFT of opset 20, its axis is not read.

Sources: https://onnx.ai/onnx/operators/onnx__STFT.html and https://onnx.ai/onnx/operators/onnx__DFT.html
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import StageError
from stages.onnx import file as onnx_file

AXIS, DEFAULT_AXIS = 2, 1  # where a DFT of opset 20 has its axis, and the axis of opset 17 where none is said
FIXED = "a real signal, with a step, a window and a length that the graph has as constants"


@contextlib.contextmanager
def rewritten(path: Path) -> Iterator[Path]:
    """The graph's file, or a temporary one whose transforms OpenVINO reads.

    Raises:
        StageError: When a transform's step, window or length is computed, or its signal is complex.
    """
    if not any(_rewrite(node) for node in onnx_file.read(path, weights=False).graph.node):
        yield path
        return
    model = onnx_file.read(path)
    constants = {i.name: i for i in model.graph.initializer}
    constants |= {n.output[0]: a.t for n in model.graph.node if n.op_type == "Constant" for a in n.attribute}
    nodes = list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        rewrite = _rewrite(node)
        model.graph.node.extend(rewrite(node, constants, model.graph) if rewrite else [node])
    with tempfile.TemporaryDirectory() as folder:
        yield onnx_file.write(model, Path(folder))


def _rewrite(node: Any) -> Callable[[Any, Mapping[str, Any], Any], list[Any]] | None:
    """The function that makes other nodes of one; None for a node that can stay."""
    if node.op_type == "STFT":
        return _convolved
    attributes = {a.name for a in node.attribute if a.i}
    if node.op_type != "DFT":
        return None
    if "onesided" not in attributes:
        return _along_attribute if len(node.input) > AXIS else None
    return _real_numbers_of if "inverse" in attributes else _half


def _along_attribute(node: Any, constants: Mapping[str, Any], _: Any) -> list[Any]:
    """A DFT as of opset 17, which has the axis as an attribute: of opset 20, the axis is not read."""
    from onnx import helper, numpy_helper

    if len(node.input) > AXIS:
        axis, name = node.input.pop(AXIS), node.output[0]
        if axis not in constants:
            raise StageError(
                f"OpenVINO cannot convert the DFT '{name}': its axis '{axis}' is computed", allowed="a constant"
            )
        node.attribute.append(helper.make_attribute("axis", int(numpy_helper.to_array(constants[axis]))))
    return [node]


def _half(node: Any, constants: Mapping[str, Any], graph: Any) -> list[Any]:
    """The nodes for a onesided DFT, [..., length, 1] to [..., length // 2 + 1, 2]: the half of a whole one."""
    import numpy as np
    from onnx import helper, numpy_helper

    (whole,), name = _along_attribute(node, constants, graph), node.output[0]
    axis = next((a.i for a in whole.attribute if a.name == "axis"), DEFAULT_AXIS)
    numbers = {"one": [1], "two": [2], "none": [0], "along": [axis]}
    graph.initializer.extend(numpy_helper.from_array(np.array(v, np.int64), f"{name}_{n}") for n, v in numbers.items())
    one, two, none, along = (f"{name}_{n}" for n in numbers)
    whole.output[0] = f"{name}_whole"
    next(a for a in whole.attribute if a.name == "onesided").i = 0
    nodes = [whole]

    def add(kind: str, *inputs: str, result: str = "") -> str:
        result = result or f"{name}_{kind}"
        nodes.append(helper.make_node(kind, inputs, [result], result))
        return result

    signal, length = [*node.input, ""][:2]
    size = add("Reshape", length, one) if length else add("Gather", add("Shape", signal), along)
    add("Slice", whole.output[0], none, add("Add", add("Div", size, two), one), along, result=name)
    return nodes


def _real_numbers_of(node: Any, constants: Mapping[str, Any], graph: Any) -> list[Any]:
    """The nodes for the inverse of a onesided DFT, [..., length // 2 + 1, 2] to [..., length, 1]."""
    import numpy as np
    from onnx import helper, numpy_helper

    (inverse,), name = _along_attribute(node, constants, graph), node.output[0]
    graph.initializer.append(numpy_helper.from_array(np.array([-1], np.int64), f"{name}_last"))
    inverse.output[0] = f"{name}_without_last"
    return [inverse, helper.make_node("Unsqueeze", [inverse.output[0], f"{name}_last"], [name], name)]


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
