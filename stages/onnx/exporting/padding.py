"""Keeps `Pad` with zeros and the `MaxPool` after it as two nodes.

onnxruntime 1.31 fuses them into one MaxPool, and so does onnxsim's optimizer. The padding of a MaxPool is never the
largest value, so where all values of a window are negative, the result is one of them and no longer 0. Both leave a
Pad alone that states its axes, which is possible from opset 18 on.

Source: onnxruntime/core/optimizer/pad_fusion.cc; https://github.com/onnxsim/onnxsim/issues/290
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

SINCE = 18  # the opset whose Pad takes axes


def keep_apart(model: onnx.ModelProto) -> None:
    """Makes each Pad before a MaxPool state its axes, from opset 18 on."""
    import numpy as np
    from onnx import numpy_helper

    if any(o.domain in ("", "ai.onnx") and o.version < SINCE for o in model.opset_import):
        return
    pooled = {i for n in model.graph.node if n.op_type == "MaxPool" for i in n.input}
    constants = {t.name: t for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "Pad" or node.output[0] not in pooled or len(node.input) > 3:
            continue
        if (pads := constants.get(node.input[1])) is None:
            continue
        name = f"{node.output[0]}_axes"
        rank = numpy_helper.to_array(pads).size // 2
        model.graph.initializer.append(numpy_helper.from_array(np.arange(rank, dtype=np.int64), name))
        node.input.extend([*[""] * (3 - len(node.input)), name])
