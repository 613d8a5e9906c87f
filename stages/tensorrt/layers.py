"""The layers of an engine by what they compute in: none of them is what it was in the graph."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.artifact import Artifact
from stages.tensorrt.host.card import read_card


def layers(artifact: Artifact) -> Mapping[str, int]:
    """How many layers compute in each type, from the engine's card."""
    counts: Mapping[str, int] = read_card(artifact.file.with_suffix(".json"))["layers"]
    return counts
