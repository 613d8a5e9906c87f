"""Recognises weights that another library has quantized, and says what to do instead."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipeline.errors import Problem

# The endings of names of tensors that hold numbers in few bits or their scales.
MARKS = {
    "bitsandbytes": re.compile(r".*\.(weight\.(absmax|quant_map|quant_state\.bitsandbytes__\w+)|SCB)"),
    "GPTQ or AWQ": re.compile(r".*\.(qweight|qzeros)"),
    "torch.ao.quantization": re.compile(r".*\._packed_params(\.\w+)?"),
    "compressed-tensors": re.compile(r".*\.weight_packed"),
}
LIBRARIES = ("torchao", "bitsandbytes", "hqq", "quanto", "optimum")


def problems(state: Mapping[str, Any], origin: str) -> Iterator[Problem]:
    """A problem if a state dict has quantized tensors, with the first of them.

    Args:
        state: Name to tensor.
        origin: The file's name in messages.
    """
    for library, mark in MARKS.items():
        if marked := next((name for name in state if mark.fullmatch(name)), None):
            yield _refusal(f"{origin} was quantized by {library}: it has {marked}")
            return
    if packed := next((n for n, t in state.items() if getattr(t, "is_quantized", False)), None):
        yield _refusal(f"{origin} was quantized by torch: {packed} is {state[packed].dtype}")


def refused(classes: Iterable[str], origin: str) -> Iterator[Problem]:
    """A problem if a pickle names classes of a library that quantizes."""
    if path := next((c for c in classes if c.partition(".")[0] in LIBRARIES), None):
        yield _refusal(f"{origin} was quantized by {path.partition('.')[0]}: it holds a {path}")


def _refusal(wrong: str) -> Problem:
    return Problem(
        wrong,
        allowed="weights as they were trained, in float32, float16 or bfloat16: they are quantized for the target",
        command="the original weights, or model.dequantize() where that library is installed, and saved again; "
        "then precision=int8_weights, int4_weights or int8",
    )
