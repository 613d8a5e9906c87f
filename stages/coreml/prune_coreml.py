"""Sets the smallest weights of a Core ML package to zero, and stores only the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from pipeline.errors import Problem
from stages.coreml.compression import PRUNED, Compression, Scheme


@dataclass(frozen=True)
class PruneCoreml(Compression):
    """coremltools.optimize.coreml.prune_weights, its settings by their own names.

    By magnitude with target_sparsity or n_m_ratio, by a threshold otherwise; one of the three is set.

    Args:
        target_sparsity: The share of each weight's numbers that become zero, in 0..1.
        block_size: With target_sparsity: how many numbers along `dim` stay or go together. Convolutions and linear
            layers only, as for n_m_ratio.
        n_m_ratio: [n, m]: of every m numbers along `dim`, the n smallest become zero.
        dim: 0, the output's channels, or 1, the input's; None for coremltools' own: 0 of blocks, 1 of n:m.
        threshold: Numbers up to this magnitude become zero.
        minimum_sparsity_percentile: With threshold: the share of zeros, in 0..1, below which a weight stays as it is.

    Source: https://apple.github.io/coremltools/docs-guides/source/opt-pruning-overview.html
    """

    target_sparsity: Optional[float]
    block_size: Optional[int]
    n_m_ratio: Optional[list[int]]
    dim: Optional[int]
    threshold: Optional[float]
    minimum_sparsity_percentile: Optional[float]

    def problems(self) -> list[Problem]:
        ways = ("target_sparsity", "n_m_ratio", "threshold")
        chosen = [name for name in ways if getattr(self, name) is not None]
        found = []
        if len(chosen) != 1:
            wrong = f"{' and '.join(chosen)} are set" if chosen else "nothing says what is to become zero"
            found.append(Problem(wrong, allowed=f"one of {', '.join(ways)}; null for the others"))
        for name in ("target_sparsity", "minimum_sparsity_percentile"):
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                found.append(Problem(f"{name} is {share}", allowed="a share from 0 to 1"))
        if self.threshold is not None and self.threshold < 0:
            found.append(Problem(f"threshold is {self.threshold}", allowed="0 or more"))
        found += self._structure_problems()
        if (self.minimum_sparsity_percentile is None) != (self.threshold is None):
            wrong = f"minimum_sparsity_percentile is {self.minimum_sparsity_percentile}, threshold {self.threshold}"
            found.append(Problem(wrong.replace("None", "null"), allowed="both, or neither"))
        return found + super().problems()

    def _structure_problems(self) -> list[Problem]:
        found = []
        if self.block_size is not None and self.block_size < 2:
            found.append(Problem(f"block_size is {self.block_size}", allowed="2 or more; null for single numbers"))
        if self.block_size is not None and self.target_sparsity is None:
            found.append(Problem(f"block_size is {self.block_size} without target_sparsity", allowed="null"))
        ratio = self.n_m_ratio
        if ratio is not None and not (len(ratio) == 2 and 0 < ratio[0] <= ratio[1]):
            found.append(Problem(f"n_m_ratio is {ratio}", allowed="[n, m] with n from 1 to m, such as [2, 4]"))
        if self.dim not in (None, 0, 1):
            found.append(Problem(f"dim is {self.dim}", allowed="0, 1 or null"))
        if self.dim is not None and self.block_size is None and ratio is None:
            found.append(Problem(f"dim is {self.dim} without block_size or n_m_ratio", allowed="null"))
        return found

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
