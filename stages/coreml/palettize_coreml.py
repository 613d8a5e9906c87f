"""Stores the weights of a Core ML package as indices into a table of few values; the compute type does not change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Optional

from pipeline.errors import Problem, listed
from pipeline.stage import AtLeast, OneOf, Requires
from stages.coreml.compression import LOWERED, Compression, Scheme

MODES = ("kmeans", "uniform", "unique")
BITS = (1, 2, 3, 4, 6, 8)
GRANULARITIES = ("per_tensor", "per_grouped_channel")
CHANNELS = "a number of channels, 1 or more"


@dataclass(frozen=True)
class PalettizeCoreml(Compression):
    """coremltools.optimize.coreml.palettize_weights, with coremltools' names for the settings.

    Two of its settings are missing. `num_kmeans_workers` changes no result, and its processes hang once this process
    has used OpenMP, as PyTorch does. `lut_function` is code.

    Args:
        mode: kmeans; uniform, values at equal distances; unique, for weights that have few values already.
        nbits: Bits of an index into the table: 1, 2, 3, 4, 6 or 8. None for unique, which uses as few as possible.
        granularity: Which weights share a table: per_tensor, or per_grouped_channel.
        group_size: With per_grouped_channel: how many channels; None otherwise. Weights that it does not divide are not
            compressed.
        channel_axis: With per_grouped_channel: the dimension of the channels; None for the operation's own.
        cluster_dim: How many numbers along the channels share one entry of the table.
        enable_per_channel_scale: Whether to divide weights by a scale for each channel first.

    Source: https://apple.github.io/coremltools/docs-guides/source/opt-palettization-overview.html
    """

    mode: Annotated[str, OneOf(MODES), Requires({"kmeans": ("sklearn",)})]
    nbits: Annotated[Optional[int], OneOf(BITS)]
    granularity: Annotated[str, OneOf(GRANULARITIES)]
    group_size: Annotated[Optional[int], AtLeast(1, CHANNELS)]
    channel_axis: Optional[int]
    cluster_dim: Annotated[int, AtLeast(1)]
    enable_per_channel_scale: bool

    def conflicts(self) -> Iterator[Problem]:
        if self.mode == "unique":
            yield from self.useless(["nbits"], "mode is unique", "null: as few as it takes")
        elif self.nbits is None:
            yield Problem("nbits is None", listed(map(str, BITS)))
        if not self._grouped:
            why, allowed = f"granularity is {self.granularity}", "null; or per_grouped_channel"
            yield from self.useless(["group_size", "channel_axis"], why, allowed)
        elif self.group_size is None:
            yield Problem("group_size is None", CHANNELS)
        if self.cluster_dim > 1 and self.mode == "uniform":
            yield from self.useless(["cluster_dim"], "mode is uniform", "1; or kmeans")

    @property
    def scheme(self) -> Scheme:
        names = ("mode", "nbits", "granularity", "channel_axis", "cluster_dim", "enable_per_channel_scale")
        settings = {n: getattr(self, n) for n in (*names, "weight_threshold")}
        if self.group_size is not None:
            settings["group_size"] = self.group_size
        says = f"weights from tables of {self.nbits or 'up to 8'} bits, {self.mode}, {self.granularity}"
        function, config = "palettize_weights", "OpPalettizerConfig"
        return Scheme(function, config, settings, self.joint_compression, self.late, LOWERED, says)

    @property
    def late(self) -> list[str]:
        features = {
            "nbits=3": self.nbits == 3,
            "granularity=per_grouped_channel": self._grouped,
            f"cluster_dim={self.cluster_dim}": self.cluster_dim > 1,
            "enable_per_channel_scale=true": self.enable_per_channel_scale,
        }
        return [what for what, is_set in features.items() if is_set]

    @property
    def _grouped(self) -> bool:
        return self.granularity == "per_grouped_channel"
