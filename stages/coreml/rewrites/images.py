"""Replaces an input by an image, and puts the model's exact preprocessing into the program.

coremltools' ImageType has only one scale for all channels; it applies a list along the width. The caller scales and
crops the image to the model's size, as Apple's Vision does.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from pipeline.errors import ConfigError
from stages.interface.edits import Edits
from stages.interface.images import Preprocessing
from stages.interface.interface import Input, Interface
from stages.reference import artifact_cases

NAME = "drydock::normalize_images"


def edited(interface: Interface, edits: Edits, how: Preprocessing | None) -> Interface:
    """The package's interface, with the image's size. Raises ConfigError for a model with another layout than NCHW."""
    edited = edits.edited(interface)
    if edits.images is None:
        return edited
    assert edits.images.input is not None
    assert how is not None
    if how.layout != "NCHW":
        raise ConfigError(f"preprocessing.layout is {how.layout}, and Core ML's images come as NCHW", allowed="NCHW")
    name = edits.name(edits.images.input)
    height, width = how.size(interface.inputs[edits.images.input].shape)
    return replace(edited, inputs={**edited.inputs, name: Input([1, height, width, 3], "uint8")})


def facts(edits: Edits, how: Preprocessing | None) -> dict[str, Any]:
    """The facts about a package that takes an image."""
    return {} if edits.images is None or how is None else {artifact_cases.CUT: asdict(how)}


def register(edits: Edits, how: Preprocessing) -> None:
    """Registers the pass for this conversion with coremltools under NAME."""
    from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
    from coremltools.converters.mil.mil.passes.pass_registry import register_pass

    @register_pass(namespace="drydock", name="normalize_images", override=True)
    class NormalizeImages(AbstractGraphPass):  # type: ignore[misc]
        """Adds (pixels / scale - mean) / std, in the model's order of colours."""

        def apply(self, prog: Any) -> None:
            for function in prog.functions.values():
                with function:
                    _normalize(function, edits, how)


def _normalize(function: Any, edits: Edits, how: Preprocessing) -> None:
    import numpy as np
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813

    assert edits.images is not None
    assert edits.images.input is not None
    pixels = function.inputs[edits.name(edits.images.input)]
    first = function.operations[0]
    x = pixels
    if edits.images.color != how.color:
        x = mb.reverse(x=x, axes=[1], before_op=first)
    for combine, numbers in (
        (mb.real_div, [how.scale]),
        (mb.sub, how.mean),
        (mb.real_div, how.std),
    ):
        x = combine(x=x, y=np.asarray(numbers, np.float32).reshape(1, -1, 1, 1), before_op=first)
    function.replace_uses_of_var_after_op(anchor_op=x.op, old_var=pixels, new_var=x)
