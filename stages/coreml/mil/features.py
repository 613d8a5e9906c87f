"""Checks a caller's inputs against a model's description, and converts images between the caller and the program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.errors import CheckFailed, StageError, listed
from stages.coreml.mil.program import Feature, Function

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]
# Name to array; a classifier's scores are a dictionary, as on a device: label to score.
Answers = Mapping[str, Any]

DTYPES = {"FLOAT32": "float32", "DOUBLE": "float64", "INT32": "int32", "INT8": "int8", "FLOAT16": "float16"}


def described(message: Any, description: Any) -> Feature:
    """A feature of the model's description."""
    form = message.type.WhichOneof("Type")
    if form == "imageType":
        return _image(message.type.imageType)
    if form == "multiArrayType":
        return _array(message.type)
    if message.name == description.predictedFeatureName:
        return Feature("label")
    if message.name == description.predictedProbabilitiesName:
        return Feature("probabilities", "float32")
    raise StageError(f"'{message.name}' is a {form}", allowed="arrays and images; of a classifier its label as well")


def _enumerated(message: Any, field: str) -> str:
    name: str = message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number[getattr(message, field)].name
    return name


def _array(message: Any) -> Feature:
    array = message.multiArrayType
    shapes = tuple(tuple(s.shape) for s in array.enumeratedShapes.shapes) or ((tuple(array.shape),) * bool(array.shape))
    ranges = tuple((r.lowerBound, None if r.upperBound < 0 else r.upperBound) for r in array.shapeRange.sizeRanges)
    default = array.WhichOneof("defaultOptionalValue")
    optional = (getattr(array, default) if default else 0) if message.isOptional else None
    return Feature("array", DTYPES[_enumerated(array, "dataType")], "", () if ranges else shapes, ranges, optional)


def _image(image: Any) -> Feature:
    """An image, with shapes as the caller sees them: [1, height, width, channels]."""
    color = _enumerated(image, "colorSpace")
    channels = 1 if color.startswith("GRAYSCALE") else 3
    dtype = "float16" if color == "GRAYSCALE_FLOAT16" else "uint8"
    ranges: tuple[tuple[int, int | None], ...] = ()
    if image.WhichOneof("SizeFlexibility") == "imageSizeRange":
        sides = (image.imageSizeRange.heightRange, image.imageSizeRange.widthRange)
        spans = ((s.lowerBound, None if s.upperBound < 0 else s.upperBound) for s in sides)
        ranges = ((1, 1), *spans, (channels, channels))
    sizes = [(s.height, s.width) for s in image.enumeratedSizes.sizes] or [(image.height, image.width)]
    shapes = () if ranges else tuple((1, *size, channels) for size in sizes)
    return Feature("image", dtype, color.removesuffix("_FLOAT16"), shapes, ranges)


def as_inputs(function: Function, inputs: Arrays) -> dict[str, Array]:
    """The inputs of the function's block. Raises CheckFailed for what the description does not allow."""
    needed = [n for n, f in function.takes.items() if f.optional is None]
    if not (set(needed) <= set(inputs) <= set(function.takes)):
        raise CheckFailed(f"it was given {listed(inputs) or 'nothing'}", allowed=f"inputs {listed(function.takes)}")
    arrays = {}
    for name, feature in function.takes.items():
        value = inputs[name] if name in inputs else np.full(feature.shapes[0], feature.optional, feature.dtype)
        _demand(name, feature, value)
        dtype = function.inputs[name].dtype
        # The program gets images from Core ML with channels first, as floating-point numbers from 0 to 255.
        moved = value.transpose(0, 3, 1, 2) if feature.form == "image" else value
        arrays[name] = moved.astype(dtype, copy=False)
    return arrays


def _demand(name: str, feature: Feature, value: Array) -> None:
    what = f"'{name}'" if feature.form == "array" else f"'{name}', an image,"
    if value.dtype.name != feature.dtype:
        raise CheckFailed(f"{what} is {value.dtype}", allowed=feature.dtype)
    if feature.ranges and not (
        len(value.shape) == len(feature.ranges)
        and all(
            low <= n and (high is None or n <= high) for n, (low, high) in zip(value.shape, feature.ranges, strict=True)
        )
    ):
        raise CheckFailed(f"{what} is {_says(value.shape)}", allowed=_spans(feature))
    if feature.shapes and value.shape not in feature.shapes:
        raise CheckFailed(f"{what} is {_says(value.shape)}", allowed=" or ".join(map(_says, feature.shapes)))


def _spans(feature: Feature) -> str:
    spans = (str(low) if low == high else f"{low}..{'' if high is None else high}" for low, high in feature.ranges)
    return "x".join(spans)


def _says(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a scalar"


def as_outputs(function: Function, values: Mapping[str, Any]) -> Answers:
    """The outputs for the caller.

    An image is uint8 [1, height, width, channels], rounded and clipped to 0..255. A classifier's label is an array of
    one element.
    """
    outputs: dict[str, Any] = {}
    for name, feature in function.gives.items():
        value = values[name]
        if feature.form == "image":
            whole = feature.dtype == "uint8"
            value = value.transpose(0, 2, 3, 1)
            value = (np.rint(value).clip(0, 255) if whole else value).astype(feature.dtype)
        elif feature.form == "label":
            value = np.asarray(value)
        elif feature.form == "array":
            value = value.astype(feature.dtype, copy=False)
        outputs[name] = value
    return outputs


def for_coreml(function: Function, inputs: Arrays) -> dict[str, Any]:
    """Inputs for Core ML's own prediction: images as pictures, which it converts to the colour space itself."""
    from PIL import Image

    as_inputs(function, inputs)  # checks them, with our own messages
    fed: dict[str, Any] = {}
    for name, value in inputs.items():
        feature = function.takes[name]
        if feature.form == "image":
            pixels = value[0][..., ::-1] if feature.color == "BGR" else value[0]
            pixels = pixels[..., 0] if feature.color == "GRAYSCALE" else pixels
            fed[name] = Image.fromarray(np.ascontiguousarray(pixels, None if feature.dtype == "uint8" else "float32"))
        else:
            fed[name] = value
    return fed


def from_coreml(function: Function, prediction: Mapping[str, Any]) -> Answers:
    """The outputs of Core ML's own prediction, in the form of `as_outputs`."""
    outputs: dict[str, Any] = {}
    for name, feature in function.gives.items():
        value = prediction[name]
        if feature.form == "image":
            pixels = np.asarray(value).reshape(1, value.height, value.width, -1)[..., :3]
            value = pixels[..., ::-1] if feature.color == "BGR" else pixels
        elif feature.form == "probabilities":
            outputs[name] = value
            continue
        outputs[name] = np.asarray(value) if feature.form == "label" else np.asarray(value, feature.dtype)
    return outputs


def as_arrays(function: Function, answers: Answers, labels: Sequence[Any]) -> Arrays:
    """The outputs, with a classifier's scores as one array in the order of labels. Raises CheckFailed for others."""
    arrays = dict(answers)
    for name, feature in function.gives.items():
        if feature.form == "probabilities":
            scores = answers[name]
            if set(scores) != set(labels):
                raise CheckFailed(
                    f"the classifier answers with the labels {listed(map(str, scores))}",
                    allowed=f"those that it was made with: {listed(map(str, labels))}",
                    command="stages.compile.classifier=false, or the package as it was made",
                )
            arrays[name] = np.array([scores[label] for label in labels], feature.dtype)
    return arrays
