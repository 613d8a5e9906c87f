"""Puts the preprocessing of photographs into an OpenVINO graph, with Pillow's own arithmetic."""

from __future__ import annotations

from typing import Any

from pipeline.errors import ConfigError
from stages.interface.edits import Images
from stages.interface.images import Preprocessing
from stages.interface.interface import Input
from stages.openvino import library as openvino_library


def put_in_front(port: Any, spec: Input, images: Images, how: Preprocessing) -> None:
    """Makes an input accept uint8 photographs of any size: the graph scales, crops, converts and normalises them.

    Args:
        port: The input, from a PrePostProcessor.
        spec: The model's own input.
        images: The layout and colours of the bytes.
        how: The preprocessing that the model needs.

    Raises:
        ConfigError: When a photograph would be scaled to less than the model's size.
    """
    openvino = openvino_library.load()
    height, width = how.size(spec.shape)
    tall, wide = how.resize if isinstance(how.resize, list) else (how.resize, how.resize)
    if tall < height or wide < width:
        raise ConfigError(
            f"preprocessing.resize is {how.resize}, and the model takes {height}x{width}",
            allowed=f"{max(height, width)} or more, or [{height}, {width}]",
            command=f"model.preprocessing.resize={max(height, width)}",
        )
    color = openvino.preprocess.ColorFormat
    tensor = port.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout(images.layout))
    tensor.set_color_format(getattr(color, images.color)).set_spatial_dynamic_shape()
    port.model().set_layout(openvino.Layout(how.layout))
    axes = [1, 2] if images.layout == "NHWC" else [2, 3]
    steps = port.preprocess().custom(lambda pixels: _middle(pixels, axes, height, width, how))
    steps.convert_element_type(openvino.Type.f32)
    if images.color != how.color:
        steps.convert_color(getattr(color, how.color))
    steps.convert_layout(openvino.Layout(how.layout))
    steps.mean([m * how.scale for m in _three(how.mean)]).scale([s * how.scale for s in _three(how.std)])
    if spec.dtype != "float32":
        steps.convert_element_type(openvino.Type(spec.dtype))


def _three(values: list[float]) -> list[float]:
    return values if len(values) == 3 else values * 3


def _middle(pixels: Any, axes: list[int], height: int, width: int, how: Preprocessing) -> Any:
    """Scales as images.resized and crops as images.middle, on bytes, so that the rounding is Pillow's.

    Source: https://docs.openvino.ai/2026/documentation/openvino-ir-format/operation-sets/operation-specs/image/interpolate-11.html
    """
    import numpy as np
    from openvino import opset11

    def whole(values: Any) -> Any:
        return opset11.constant(np.asarray(values, np.int64))

    sides = opset11.gather(opset11.shape_of(pixels), whole(axes), whole(0))
    if isinstance(how.resize, list):
        size = whole(how.resize)
    else:
        shorter = opset11.reduce_min(sides, whole(0), keep_dims=True)
        size = opset11.divide(opset11.multiply(sides, whole([how.resize])), shorter)
    scaled = opset11.interpolate(pixels, size, f"{how.interpolation}_pillow", "sizes", axes=whole(axes))
    spare = opset11.convert(opset11.subtract(size, whole([height, width])), "f32")
    first = opset11.convert(
        opset11.round(opset11.divide(spare, opset11.constant(np.float32(2))), "half_to_even"), "i64"
    )
    cut = opset11.slice(scaled, first, opset11.add(first, whole([height, width])), whole([1, 1]), whole(axes))
    # A slice from a computed offset has no known size, so state it.
    sizes = [0, height, width, 3] if axes == [1, 2] else [0, 3, height, width]
    return opset11.reshape(cut, whole(sizes), special_zero=True).output(0)
