"""Packages that are classifiers: they return a label, and the score of each label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipeline.errors import ConfigError, listed
from stages.coreml import library as coreml_library
from stages.interface.edits import Edits
from stages.interface.interface import Interface
from stages.reference import artifact_cases

LABEL = "classLabel"
SCORES = f"{LABEL}_probs"  # coremltools' name for the scores of that label


def edits_for(interface: Interface, edits: Edits, labels: Sequence[str]) -> Edits:
    """The edits, with Core ML's name for the scores. Raises ConfigError for a model without such scores."""
    (name, output), *others = interface.outputs.items()
    if others or len(output.shape) != 2 or output.shape[1] != len(labels):
        shapes = listed(f"{n} {o.shape}" for n, o in interface.outputs.items())
        raise ConfigError(
            f"classifier is true, with {len(labels)} labels, and the model answers with {shapes}",
            allowed="one output, [batch, scores], and a label for each score",
            command="stages.compile.classifier=false, or other model.labels",
        )
    return replace(edits, names={**edits.names, name: SCORES}, dtypes={**edits.dtypes, name: "float32"})


def config(labels: Sequence[str] | None) -> Any:
    """coremltools' configuration of a classifier; None for a model that is none."""
    return (
        None if labels is None else coreml_library.load().ClassifierConfig(list(labels), predicted_feature_name=LABEL)
    )


def facts(labels: Sequence[str] | None) -> dict[str, Any]:
    """The facts about a classifier."""
    return {} if labels is None else {artifact_cases.SCORES: {"label": LABEL, "labels": list(labels)}}
