"""Stores the weights of a Core ML package as places in a table of few values; what is computed with stays as it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from pipeline.artifact import Kind
from pipeline.errors import Problem, listed
from stages.coreml import library as coreml_library
from stages.coreml.compression import LOWERED, Compression, Scheme

MODES = ("kmeans", "uniform", "unique")
BITS = (1, 2, 3, 4, 6, 8)
GRANULARITIES = ("per_tensor", "per_grouped_channel")


@dataclass(frozen=True)
class PalettizeCoreml(Compression):
    """coremltools.optimize.coreml.palettize_weights, its settings by their own names.

    Two of them are not here. `num_kmeans_workers` changes no result, and its processes wait for ever once anything in
    this one has computed with OpenMP, as PyTorch does. `lut_function` is code.

    Args:
        mode: kmeans; uniform, values at equal distances; unique, for weights that have few values already.
        nbits: 1, 2, 3, 4, 6 or 8: of the place in the table. None for unique, which takes as few as it can.
        granularity: What shares a table: per_tensor, or per_grouped_channel.
        group_size: Of per_grouped_channel: how many channels; None otherwise. Weights that it does not divide stay as
            they are.
        channel_axis: Of per_grouped_channel: along which dimension; None for the operation's own.
        cluster_dim: How many numbers along the channels have a place in the table together.
        enable_per_channel_scale: Whether weights are divided by a scale for each channel first.

    Source: https://apple.github.io/coremltools/docs-guides/source/opt-palettization-overview.html
    """

    mode: str
    nbits: Optional[int]
    granularity: str
    group_size: Optional[int]
    channel_axis: Optional[int]
    cluster_dim: int
    enable_per_channel_scale: bool

    def modules(self, kinds: Mapping[str, Kind]) -> tuple[str, ...]:
        return (*self.requires, "sklearn") if self.mode == "kmeans" else self.requires

    def problems(self) -> list[Problem]:
        found = [
            *coreml_library.unknown("mode", self.mode, MODES),
            *coreml_library.unknown("granularity", self.granularity, GRANULARITIES),
        ]
        if self.mode == "unique" and self.nbits is not None:
            found.append(Problem(f"nbits is {self.nbits}, and mode is unique", allowed="null: as few as it takes"))
        if self.mode != "unique" and self.nbits not in BITS:
            found.append(Problem(f"nbits is {self.nbits}", allowed=listed(map(str, BITS))))
        if self._grouped and (self.group_size is None or self.group_size < 1):
            found.append(Problem(f"group_size is {self.group_size}", allowed="a number of channels, 1 or more"))
        found += [
            Problem(f"{name} is {value}, and granularity is {self.granularity}", allowed="null; or per_grouped_channel")
            for name, value in (("group_size", self.group_size), ("channel_axis", self.channel_axis))
            if value is not None and not self._grouped
        ]
        if self.cluster_dim < 1:
            found.append(Problem(f"cluster_dim is {self.cluster_dim}", allowed="1 or more"))
        if self.cluster_dim > 1 and self.mode == "uniform":
            found.append(Problem(f"cluster_dim is {self.cluster_dim}, and mode is uniform", allowed="1; or kmeans"))
        return found + super().problems()

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
        asked = {
            "nbits=3": self.nbits == 3,
            "granularity=per_grouped_channel": self._grouped,
            f"cluster_dim={self.cluster_dim}": self.cluster_dim > 1,
            "enable_per_channel_scale=true": self.enable_per_channel_scale,
        }
        return [what for what, is_asked in asked.items() if is_asked]

    @property
    def _grouped(self) -> bool:
        return self.granularity == "per_grouped_channel"
