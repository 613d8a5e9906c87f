"""Makes sorts keep the order of equal values, as PyTorch's do; OpenVINO's may exchange them."""

from __future__ import annotations

from typing import Any


def make_stable(model: Any) -> None:
    """Makes every TopK stable that sorts a whole dimension, in place.

    One that picks only some values stays unchanged: PyTorch does not promise which of equal values it picks.

    Args:
        model: An openvino.Model.

    Source: https://docs.openvino.ai/2026/documentation/openvino-ir-format/operation-sets/operation-specs/sort/top-k-11.html
    """
    from openvino import opset11

    for op in model.get_ordered_ops():
        if op.get_type_name() != "TopK" or not _sorts_all(op):
            continue
        attributes = op.get_attributes()
        if attributes.get("stable") or attributes["sort"] == "none":
            continue
        replacement = opset11.topk(
            op.input_value(0),
            op.input_value(1),
            attributes["axis"],
            attributes["mode"],
            attributes["sort"],
            index_element_type=attributes["index_element_type"],
            stable=True,
        )
        replacement.set_friendly_name(op.get_friendly_name())
        for old, new in zip(op.outputs(), replacement.outputs(), strict=True):
            names = old.get_names()
            old.replace(new)
            new.set_names(names)


def _sorts_all(op: Any) -> bool:
    """Whether a TopK returns all values of its dimension. One with a computed count is taken for a sort."""
    count, shape = op.input_value(1).get_node(), op.input_value(0).get_partial_shape()
    if count.get_type_name() != "Constant":
        return True
    axis = op.get_attributes()["axis"]
    if not (shape.rank.is_static and shape[axis].is_static):
        return False
    return int(shape[axis].get_length()) == int(count.get_data().item())
