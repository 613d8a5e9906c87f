"""Translations of torch's operators to MIL that coremltools 9.0 lacks, or that it has wrong.

Each module has functions as coremltools registers them, of a context and a node, and a table NAMES of what each
translates. They import coremltools, so they are imported by `translations` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

# What coremltools has and is replaced all the same, with the reason.
REPLACED: Mapping[str, str] = {
    **dict.fromkeys(
        ("adaptive_avg_pool1d", "adaptive_avg_pool2d", "_adaptive_avg_pool2d", "group_norm"),
        "coremltools' own demands that all sizes be known, the batch's too; where they are, it is used",
    ),
    **dict.fromkeys(
        ("avg_pool1d", "avg_pool2d", "avg_pool3d"),
        "in ceil mode, coremltools' own has the windows at the edge divided by the whole kernel",
    ),
    **dict.fromkeys(
        (f"max_pool{n}d{suffix}" for n in (1, 2, 3) for suffix in ("", "_with_indices")),
        "in ceil mode, coremltools' own has a window beyond the edge where strides are longer than windows",
    ),
    **dict.fromkeys(
        ("_convolution", "convolution", *(f"conv_transpose{n}d{form}" for n in (1, 2, 3) for form in ("", ".input"))),
        "with output_padding, coremltools' own of a transposed one pads what is put in",
    ),
    **dict.fromkeys(
        ("div", "floor_divide", "fmod", "remainder"),
        "a division by 1 that is rounded down is left out, as if it changed nothing",
    ),
    "reciprocal": "coremltools' own adds 1e-4 to what it divides by",
    "rsqrt": "coremltools' own adds 1e-12 to what it takes the root of",
    **dict.fromkeys(
        ("_upsample_bilinear2d_aa", "_upsample_bilinear2d_aa.vec"), "coremltools' own leaves out the antialiasing"
    ),
    **dict.fromkeys(
        ("upsample_nearest2d", "upsample_nearest2d.vec"), "by factors that make no whole size, MIL takes other elements"
    ),
    "instance_norm": "coremltools' own leaves out the statistics that were kept",
    "rms_norm": "coremltools' own multiplies epsilon by the square of the row's largest value, and divides 0 by 0",
    **dict.fromkeys(
        ("new_zeros", "new_full", "ones_like", "zeros_like", "full_like"),
        "coremltools' own leaves out the type that is asked for: a mask of zeros and -inf stays one of booleans",
    ),
    "gelu": "of torch.export, coremltools' own leaves out that it is approximated by tanh",
    "floordiv": "coremltools' own makes a floating-point number of sizes, which no shape can be put together from",
    **dict.fromkeys(
        ("where", "where.self", "where.scalarself"),
        "of dynamic sizes, coremltools' own writes a shape into the program that it does not have",
    ),
}


def register() -> None:
    """Adds every translation to coremltools' registry; once more changes nothing."""
    from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY as REGISTRY

    for name, translation in translations().items():
        if name in REPLACED or name not in REGISTRY.name_to_func_mapping:
            REGISTRY.set_func_by_name(translation, name)


def translations() -> dict[str, Callable[[Any, Any], None]]:
    """Every translation by the operator's name in the registry."""
    from stages.coreml.translations import (
        activating,
        choosing,
        convolving,
        counting,
        dividing,
        filling,
        normalizing,
        pooling,
        rearranging,
        resizing,
    )

    modules = (
        activating,
        choosing,
        convolving,
        counting,
        dividing,
        filling,
        normalizing,
        pooling,
        rearranging,
        resizing,
    )
    return {name: translation for module in modules for name, translation in module.NAMES.items()}
