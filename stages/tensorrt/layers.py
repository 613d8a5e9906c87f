"""Counts the layers of an engine by the type that they compute in; they do not correspond to the graph's nodes."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.artifact import Artifact
from stages.tensorrt.host.card import read_card


def layers(artifact: Artifact) -> Mapping[str, int]:
    """How many layers compute in each type, from the engine's card."""
    counts: Mapping[str, int] = read_card(artifact.file.with_suffix(".json"))["layers"]
    return counts
