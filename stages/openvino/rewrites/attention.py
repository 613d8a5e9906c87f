"""Adds a mask of zeros to attention without a mask: without it OpenVINO's CPU results depend on earlier requests.

If the first request of a compiled model has length 1, version 2026.4.1 computes unmasked attention of dynamic length
from stale memory: 10 to 50 times too large from length 16 on. A constant mask would be removed when the model is
compiled; zeros that are computed from the length while it runs are not.
"""

from __future__ import annotations

from typing import Any

LENGTH, KEYS, MASK = -2, 1, 3  # the axis of the keys that is their length; the inputs of attention
SCALED = ("Multiply", "Divide")


def mask(model: Any) -> int:
    """Adds a mask of zeros to each attention of dynamic length. Returns how many it added."""
    count = 0
    for op in model.get_ordered_ops():
        if op.get_type_name() == "ScaledDotProductAttention":
            count += _mask_fused(op)
        elif op.get_type_name() == "Softmax":
            count += _mask_written_out(op)
    if count:
        model.validate_nodes_and_infer_types()
    return count


def _mask_fused(op: Any) -> bool:
    from openvino import opset16 as ops

    sources = [port.get_source_output() for port in op.inputs()]
    keys = sources[KEYS]
    existing = sources[MASK].get_node() if len(sources) > MASK else None
    if op.get_attributes()["causal"] or not _is_open(keys, LENGTH) or (existing and not _is_zero_constant(existing)):
        return False
    zeros = _zeros(keys, LENGTH)
    if existing:
        op.input(MASK).replace_source_output(zeros)
    else:
        replacement = ops.scaled_dot_product_attention(*sources, zeros)
        replacement.set_friendly_name(op.get_friendly_name())
        op.output(0).replace(replacement.output(0))
    return True


def _mask_written_out(op: Any) -> bool:
    """Adds a mask before a Softmax that lies between two matrix products, scaled or not."""
    from openvino import opset16 as ops

    scores = op.input_value(0)
    product = scores.get_node()
    if product.get_type_name() in SCALED:
        constant, product = sorted(
            (i.get_source_output().get_node() for i in product.inputs()), key=lambda n: n.get_type_name() != "Constant"
        )
        if constant.get_type_name() != "Constant":
            return False
    after = {port.get_node().get_type_name() for port in op.output(0).get_target_inputs()}
    if product.get_type_name() != "MatMul" or "MatMul" not in after or not _is_open(scores, -1):
        return False
    op.input(0).replace_source_output(ops.add(scores, _zeros(scores, -1)).output(0))
    return True


def _is_open(value: Any, axis: int) -> bool:
    shape = value.get_partial_shape()
    return bool(shape.rank.is_static and shape.rank.get_length() >= 2 and shape[axis].is_dynamic)


def _is_zero_constant(node: Any) -> bool:
    return node.get_type_name() == "Constant" and not node.data.any()


def _zeros(value: Any, axis: int) -> Any:
    """Zeros along the last dimension: as many as a value's size along an axis when the model runs."""
    import numpy as np
    from openvino import opset16 as ops

    rank = value.get_partial_shape().rank.get_length()
    whole = ops.shape_of(value, output_type="i64")
    length = ops.gather(whole, np.array([rank + axis], np.int64), np.int64(0))
    shape = ops.concat([ops.constant(np.ones(rank - 1, np.int64)), length], 0)
    zero = ops.constant(np.zeros((), value.get_element_type().to_dtype()))
    return ops.broadcast(zero, shape).output(0)
