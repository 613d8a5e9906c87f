"""Sets the smallest weights of a Core ML package to zero, and stores only the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Optional

from pipeline.errors import Problem
from pipeline.stage import AtLeast, Between, OneOf, Setting
from stages.coreml.compression import PRUNED, Compression, Scheme

SHARE = Between(0, 1, "a share from 0 to 1")
WAYS = ("target_sparsity", "n_m_ratio", "threshold")


class Ratio(Setting):
    """[n, m]: n of every m numbers become zero."""

    def problems(self, name: str, value: list[int]) -> Iterable[Problem]:
        if not (len(value) == 2 and 0 < value[0] <= value[1]):
            yield Problem(f"{name} is {value}", "[n, m] with n from 1 to m, such as [2, 4]")


@dataclass(frozen=True)
class PruneCoreml(Compression):
    """coremltools.optimize.coreml.prune_weights, with coremltools' names for the settings.

    Exactly one of target_sparsity, n_m_ratio (both by magnitude) and threshold is set.

    Args:
        target_sparsity: The share of each weight's numbers that become zero, in 0..1.
        block_size: With target_sparsity: how many numbers along `dim` become zero together. Only for convolutions and
            linear layers, as n_m_ratio.
        n_m_ratio: [n, m]: of every m numbers along `dim`, the n smallest become zero.
        dim: 0, the output's channels, or 1, the input's; None for coremltools' default: 0 for blocks, 1 for n:m.
        threshold: Numbers up to this magnitude become zero.
        minimum_sparsity_percentile: With threshold: a weight with a smaller share of zeros, in 0..1, is not pruned.

    Source: https://apple.github.io/coremltools/docs-guides/source/opt-pruning-overview.html
    """

    target_sparsity: Annotated[Optional[float], SHARE]
    block_size: Annotated[Optional[int], AtLeast(2, "2 or more; null for single numbers")]
    n_m_ratio: Annotated[Optional[list[int]], Ratio()]
    dim: Annotated[Optional[int], OneOf((0, 1), "0, 1 or null")]
    threshold: Annotated[Optional[float], AtLeast(0)]
    minimum_sparsity_percentile: Annotated[Optional[float], SHARE]

    def conflicts(self) -> Iterator[Problem]:
        chosen = [name for name in WAYS if getattr(self, name) is not None]
        if len(chosen) != 1:
            wrong = f"{' and '.join(chosen)} are set" if chosen else "no setting says which weights become zero"
            yield Problem(wrong, f"one of {', '.join(WAYS)}; null for the others")
        if self.block_size is not None and self.target_sparsity is None:
            yield Problem(f"block_size is {self.block_size} without target_sparsity", "null")
        if self.dim is not None and self.block_size is None and self.n_m_ratio is None:
            yield Problem(f"dim is {self.dim} without block_size or n_m_ratio", "null")
        share, threshold = ("null" if v is None else v for v in (self.minimum_sparsity_percentile, self.threshold))
        if (share == "null") != (threshold == "null"):
            yield Problem(f"minimum_sparsity_percentile is {share}, threshold {threshold}", "both, or neither")

    @property
    def scheme(self) -> Scheme:
        if self.threshold is not None:
            config, names = "OpThresholdPrunerConfig", ["threshold", "minimum_sparsity_percentile"]
            says = f"weights up to {self.threshold:g} set to zero"
        else:
            config, names = "OpMagnitudePrunerConfig", ["target_sparsity", "block_size", "n_m_ratio", "dim"]
            share = "{} of every {}".format(*self.n_m_ratio) if self.n_m_ratio else f"{self.target_sparsity or 0:.0%}"
            says = f"{share} of the weights set to zero"
            says += f", in blocks of {self.block_size}" if self.block_size else ""
        settings = {n: getattr(self, n) for n in (*names, "weight_threshold")}
        return Scheme("prune_weights", config, settings, self.joint_compression, [], PRUNED, says)
