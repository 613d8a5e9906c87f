"""Sorts that keep the order of equal values, as PyTorch's do; OpenVINO's own are free to exchange these."""

from __future__ import annotations

from typing import Any


def stable(model: Any) -> None:
    """Makes every TopK stable that sorts all of a dimension, in place.

    Those that pick some stay as they are: which of equal values PyTorch picks is nobody's promise.

    Args:
        model: An openvino.Model.

    Source: https://docs.openvino.ai/2026/documentation/openvino-ir-format/operation-sets/operation-specs/sort/top-k-11.html
    """
    from openvino import opset11

    for op in model.get_ordered_ops():
        if op.get_type_name() != "TopK" or not _sorts_all(op):
            continue
        told = op.get_attributes()
        if told.get("stable") or told["sort"] == "none":
            continue
        made = opset11.topk(
            op.input_value(0),
            op.input_value(1),
            told["axis"],
            told["mode"],
            told["sort"],
            index_element_type=told["index_element_type"],
            stable=True,
        )
        made.set_friendly_name(op.get_friendly_name())
        for old, new in zip(op.outputs(), made.outputs(), strict=True):
            names = old.get_names()
            old.replace(new)
            new.set_names(names)


def _sorts_all(op: Any) -> bool:
    """Whether it asks for as many values as there are; of what is computed nothing else is known of a sort."""
    count, shape = op.input_value(1).get_node(), op.input_value(0).get_partial_shape()
    if count.get_type_name() != "Constant":
        return True
    axis = op.get_attributes()["axis"]
    if not (shape.rank.is_static and shape[axis].is_static):
        return False
    return int(shape[axis].get_length()) == int(count.get_data().item())
