"""Weights that another library has quantized: what they are told by, and what to do instead."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipeline.errors import Problem

# What the names of tensors end with that hold the scales of numbers in few bits.
MARKS = {
    "bitsandbytes": re.compile(r".*\.(weight\.(absmax|quant_map|quant_state\.bitsandbytes__\w+)|SCB)"),
    "GPTQ or AWQ": re.compile(r".*\.(qweight|qzeros)"),
    "torch.ao.quantization": re.compile(r".*\._packed_params(\.\w+)?"),
    "compressed-tensors": re.compile(r".*\.weight_packed"),
}
LIBRARIES = ("torchao", "bitsandbytes", "hqq", "quanto", "optimum")


def problems(state: Mapping[str, Any], origin: str) -> Iterator[Problem]:
    """That a state dict holds no plain numbers, with the tensor that tells.

    Args:
        state: Name to tensor.
        origin: What to call the file.
    """
    for library, mark in MARKS.items():
        if marked := next((name for name in state if mark.fullmatch(name)), None):
            yield _refusal(f"{origin} was quantized by {library}: it has {marked}")
            return
    if packed := next((n for n, t in state.items() if getattr(t, "is_quantized", False)), None):
        yield _refusal(f"{origin} was quantized by torch: {packed} is {state[packed].dtype}")


def named(classes: Iterable[str], origin: str) -> Iterator[Problem]:
    """The same of a pickle, by the classes that it names."""
    if found := next((c for c in classes if c.partition(".")[0] in LIBRARIES), None):
        yield _refusal(f"{origin} was quantized by {found.partition('.')[0]}: it holds a {found}")


def _refusal(wrong: str) -> Problem:
    return Problem(
        wrong,
        allowed="weights as they were trained, in float32, float16 or bfloat16: they are quantized for the target",
        command="the original weights, or model.dequantize() where that library is installed, and saved again; "
        "then precision=int8_weights, int4_weights or int8",
    )
