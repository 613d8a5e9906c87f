"""Attention with a mask of its own, where a graph has none: what OpenVINO's CPU answers depends on what came before.

Version 2026.4.1 computes attention without a mask, over a length that is not fixed, from what is left in memory, once
the first request of a compiled model had length 1: 10 to 50 times too large from length 16 on. A constant of zeros is
dropped again when the model is compiled; zeros that are made of the length while it runs are not.
"""

from __future__ import annotations

from typing import Any

LENGTH, KEYS, MASK = -2, 1, 3  # the axis of keys that is their number; the inputs of attention
SCALED = ("Multiply", "Divide")


def mask(model: Any) -> int:
    """Gives each attention over a length that is not fixed a mask of zeros. Returns to how many."""
    found = 0
    for op in model.get_ordered_ops():
        if op.get_type_name() == "ScaledDotProductAttention":
            found += _mask_fused(op)
        elif op.get_type_name() == "Softmax":
            found += _mask_written_out(op)
    if found:
        model.validate_nodes_and_infer_types()
    return found


def _mask_fused(op: Any) -> bool:
    from openvino import opset16 as ops

    sources = [port.get_source_output() for port in op.inputs()]
    keys = sources[KEYS]
    given = sources[MASK].get_node() if len(sources) > MASK else None
    if op.get_attributes()["causal"] or not _is_open(keys, LENGTH) or (given and not _is_nothing(given)):
        return False
    zeros = _zeros(keys, LENGTH)
    if given:
        op.input(MASK).replace_source_output(zeros)
    else:
        made = ops.scaled_dot_product_attention(*sources, zeros)
        made.set_friendly_name(op.get_friendly_name())
        op.output(0).replace(made.output(0))
    return True


def _mask_written_out(op: Any) -> bool:
    """For softmax of a product of matrices, scaled or not, that goes into another product."""
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


def _is_nothing(given: Any) -> bool:
    return given.get_type_name() == "Constant" and not given.data.any()


def _zeros(value: Any, axis: int) -> Any:
    """Zeros along the last dimension, as many as a value has along an axis when the model is run."""
    import numpy as np
    from openvino import opset16 as ops

    rank = value.get_partial_shape().rank.get_length()
    whole = ops.shape_of(value, output_type="i64")
    length = ops.gather(whole, np.array([rank + axis], np.int64), np.int64(0))
    shape = ops.concat([ops.constant(np.ones(rank - 1, np.int64)), length], 0)
    zero = ops.constant(np.zeros((), value.get_element_type().to_dtype()))
    return ops.broadcast(zero, shape).output(0)
