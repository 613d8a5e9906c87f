"""Takes the number out of norms that OpenVINO's reader of ONNX adds to the sum of squares.

LpNormalization is x / |x|, and 0 where x is. OpenVINO 2026.4 reads x / sqrt(x² + 1.2e-7): a vector of length 1e-3 comes
out 0.1 % too short, one of 1e-4 by 60 %. onnxsim writes LpNormalization for `x / x.norm(dim=-1, keepdim=True)`.

Source: https://onnx.ai/onnx/operators/onnx__LpNormalization.html
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stages.onnx import file as onnx_file
from stages.openvino import library

ADDED = 2.0**-23


def without_epsilon(model: Any, graph: Path) -> None:
    """Replaces each norm that was read from an LpNormalization of the graph by an exact one, in place.

    Args:
        model: An openvino.Model.
        graph: The ONNX file that it was read from.
    """
    import numpy as np

    nodes = [n for n in onnx_file.read(graph, weights=False).graph.node if n.op_type == "LpNormalization"]
    names = {name for node in nodes for name in (node.name, *node.output)}
    for op in model.get_ops() if names else ():
        attributes = op.get_attributes() if op.get_type_name() == "NormalizeL2" else {}
        if attributes.get("eps") == ADDED and op.get_friendly_name() in names:
            x, axes = (i.get_source_output() for i in op.inputs())
            exact = library.load().opset13.normalize_l2(x, axes, float(np.finfo(np.float32).tiny), "max")
            exact.set_friendly_name(op.get_friendly_name())
            op.output(0).replace(exact.output(0))
