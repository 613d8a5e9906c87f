"""Stores the weights of a Core ML package as integers of 8 or 4 bits; the compute type does not change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from pipeline.errors import Problem
from pipeline.stage import OneOf
from stages.coreml.compression import LOWERED, Compression, Scheme

MODES = ("linear_symmetric", "linear")
DTYPES = ("int8", "uint8", "int4", "uint4")
GRANULARITIES = ("per_tensor", "per_channel", "per_block")


@dataclass(frozen=True)
class QuantizeCoreml(Compression):
    """coremltools.optimize.coreml.linear_quantize_weights, with coremltools' names for the settings.

    Args:
        mode: linear_symmetric, or linear: with a zero point.
        dtype: int8, uint8, int4, uint4.
        granularity: Which weights share a scale: per_tensor, per_channel or per_block.
        block_size: With per_block: how many numbers along the input's channels share a scale, or a list with the number
            along each dimension, 0 for all; None otherwise. Weights that it does not divide are not compressed.

    Source: https://apple.github.io/coremltools/docs-guides/source/opt-quantization-overview.html
    """

    mode: Annotated[str, OneOf(MODES)]
    dtype: Annotated[str, OneOf(DTYPES)]
    granularity: Annotated[str, OneOf(GRANULARITIES)]
    block_size: Any

    def conflicts(self) -> Iterator[Problem]:
        if not self._in_blocks:
            yield from self.useless(["block_size"], f"granularity is {self.granularity}", "null; or per_block")
        elif not _are_sizes(self.block_size):
            allowed = "a number from 1 on, or a list with one for each dimension, 0 for all of it"
            yield Problem(f"block_size is {self.block_size}", allowed)

    @property
    def scheme(self) -> Scheme:
        names = ("mode", "dtype", "granularity", "weight_threshold")
        settings = {n: getattr(self, n) for n in names}
        if self.block_size is not None:
            settings["block_size"] = self.block_size
        says = f"{self.dtype} weights, {self.granularity}"
        function, config = "linear_quantize_weights", "OpLinearQuantizerConfig"
        return Scheme(function, config, settings, self.joint_compression, self.late, LOWERED, says)

    @property
    def late(self) -> list[str]:
        features = {f"dtype={self.dtype}": self.dtype.endswith("4"), "granularity=per_block": self._in_blocks}
        return [what for what, is_set in features.items() if is_set]

    @property
    def _in_blocks(self) -> bool:
        return self.granularity == "per_block"


def _are_sizes(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(type(n) is int and n >= 0 for n in value)
    return type(value) is int and value >= 1
