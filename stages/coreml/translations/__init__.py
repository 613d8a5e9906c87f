"""Translations of torch's operators to MIL that coremltools 9.0 lacks or gets wrong.

Each module has functions of a context and a node, as coremltools registers them, and a table NAMES: operator to
function. They import coremltools, so only `translations` imports them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

# Operators that do the same to the real and to the imaginary part.
OF_PARTS = (
    *(
        "_unsafe_view",
        "cat",
        "expand",
        "expand_as",
        "flatten",
        "flip",
        "index_select",
        "mean",
        "narrow",
        "neg",
        "permute",
    ),
    *("repeat", "reshape", "roll", "select", "slice", "squeeze", "squeeze.dim", "stack", "sum", "t", "transpose"),
    *("unflatten", "unsqueeze", "view", "view_copy"),
)

OF_ONE_NUMBER = (
    *("acos", "asin", "atan", "cos", "cosh", "erf", "exp", "exp2", "log", "log10", "log2", "sigmoid", "sin", "sinh"),
    *("sqrt", "tan", "tanh"),
)

SCATTERING = ("scatter", "scatter.src", "scatter.value", "scatter.reduce", "scatter.value_reduce", "scatter_add")

# Translations that coremltools has and that we replace, with the reason.
REPLACED: Mapping[str, str] = {
    **dict.fromkeys(
        ("adaptive_avg_pool1d", "adaptive_avg_pool2d", "_adaptive_avg_pool2d", "group_norm"),
        "coremltools' own needs all sizes, also the batch's; where they are fixed, it is used",
    ),
    **dict.fromkeys(
        ("avg_pool1d", "avg_pool2d", "avg_pool3d"),
        "in ceil mode, coremltools' own divides the windows at the edge by the whole kernel",
    ),
    **dict.fromkeys(
        (f"max_pool{n}d{suffix}" for n in (1, 2, 3) for suffix in ("", "_with_indices")),
        "in ceil mode, coremltools' own has a window beyond the edge where strides are longer than windows",
    ),
    **dict.fromkeys(
        ("_convolution", "convolution", *(f"conv_transpose{n}d{form}" for n in (1, 2, 3) for form in ("", ".input"))),
        "with output_padding, coremltools' own transposed convolution pads the input",
    ),
    **dict.fromkeys(
        ("div", "floor_divide", "fmod", "remainder"),
        "coremltools removes a rounded division by 1, as if it changed nothing",
    ),
    "reciprocal": "coremltools' own adds 1e-4 to the divisor",
    "rsqrt": "coremltools' own adds 1e-12 before the root",
    **dict.fromkeys(
        ("_upsample_bilinear2d_aa", "_upsample_bilinear2d_aa.vec"), "coremltools' own leaves out the antialiasing"
    ),
    **dict.fromkeys(
        ("upsample_nearest2d", "upsample_nearest2d.vec"), "where factors give no integer size, MIL takes other elements"
    ),
    "instance_norm": "coremltools' own ignores the running statistics",
    **dict.fromkeys(
        ("repeat_interleave", "repeat_interleave.self_int"), "coremltools' own needs to know all sizes but the first"
    ),
    "rms_norm": "coremltools' own multiplies epsilon by the square of the row's largest value, and divides 0 by 0",
    **dict.fromkeys(
        ("new_zeros", "new_full", "ones_like", "zeros_like", "full_like"),
        "coremltools' own ignores the requested type: a mask of zeros and -inf stays boolean",
    ),
    "gelu": "from torch.export, coremltools' own ignores the approximation by tanh",
    **dict.fromkeys(("eye", "eye.m"), "coremltools' own needs to know the size"),
    "im2col": "coremltools' own needs to know the batch",
    **dict.fromkeys(OF_ONE_NUMBER, "coremltools' own takes no whole numbers"),
    **dict.fromkeys(
        (*OF_PARTS, "size", "sym_size", "dim", "numel", "abs", "add", "complex", "exp", "imag", "mul", "real", "sub"),
        "coremltools' own takes no complex numbers, or those of known sizes alone",
    ),
    **dict.fromkeys(SCATTERING, "coremltools' own needs to know the shape of the indices"),
    **dict.fromkeys(("pad", "constant_pad_nd"), "coremltools' own needs to know the widths, and cannot go around"),
    **dict.fromkeys(("adaptive_max_pool1d", "adaptive_max_pool2d"), "coremltools' own takes windows of one size alone"),
    "col2im": "coremltools' own takes no windows that overlap",
    "broadcast_tensors": "after coremltools' own no size is known, also of those that stay",
    "outer": "coremltools' own takes no two types",
    "round": "coremltools' own ignores the decimals",
    "cumsum": "MIL's takes no axis before the last that is counted from the end",
    **dict.fromkeys(
        ("constantchunk", "split", "split_with_sizes"), "coremltools' own needs to know the size, or the lengths"
    ),
    "view_as_real": "coremltools' own needs to know all sizes",
    **dict.fromkeys(
        (
            "stft",
            *(f"fft_{inverse}{kind}{axes}" for inverse in ("", "i") for kind in ("fft", "rfft") for axes in ("", "n")),
        ),
        "coremltools' own needs to know all sizes, and computes the angles in float32",
    ),
    "floordiv": "coremltools' own turns sizes into floating-point numbers, which cannot be part of a shape",
    **dict.fromkeys(
        ("where", "where.self", "where.scalarself"),
        "with dynamic sizes, coremltools' own writes a wrong shape into the program",
    ),
}


def register() -> None:
    """Adds every translation to coremltools' registry; a second call changes nothing."""
    from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY as REGISTRY

    for name, translation in translations().items():
        if name in REPLACED or name not in REGISTRY.name_to_func_mapping:
            REGISTRY.set_func_by_name(translation, name)


def translations() -> dict[str, Callable[[Any, Any], None]]:
    """Every translation by the operator's name in the registry."""
    from stages.coreml.translations import (
        activating,
        broadcasting,
        choosing,
        complexes,
        convolving,
        counting,
        detecting,
        dividing,
        filling,
        normalizing,
        padding,
        pooling,
        rearranging,
        resizing,
        scattering,
        solving,
        spectra,
    )

    modules = (
        activating,
        broadcasting,
        choosing,
        convolving,
        counting,
        detecting,
        dividing,
        filling,
        normalizing,
        padding,
        pooling,
        rearranging,
        resizing,
        scattering,
        solving,
        spectra,
        complexes,  # after those that it builds on
    )
    return {name: translation for module in modules for name, translation in module.NAMES.items()}
