"""The stages that convert to Core ML and compress packages, with the settings of their YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness import run_stage, shipped

from pipeline.artifact import Artifact
from stages.checking.check import Check
from stages.interface.edits import NOTHING, Edits
from stages.portable.comparison import Tolerance

SMALL = {"weight_threshold": 0}  # small weights count too


def compile_coreml(**settings: Any) -> Any:
    """The stage; `edits` needs only the edits that are used."""
    if isinstance(edits := settings.get("edits"), dict):
        settings["edits"] = Edits(**{**vars(NOTHING), **edits})
    return shipped("compile_coreml", **settings)


def quantize(**settings: Any) -> Any:
    return shipped("quantize_coreml", **{**SMALL, **settings})


def palettize(**settings: Any) -> Any:
    return shipped("palettize_coreml", **{**SMALL, **settings})


def prune(**settings: Any) -> Any:
    return shipped("prune_coreml", **{**SMALL, **settings})


def check(artifact: Artifact, reference: Artifact, folder: Path, limits: Tolerance, **settings: Any) -> Any:
    """The figures of a check that passes."""
    stage = Check(settings.pop("compute", "float32"), settings, [], limits, False)
    return run_stage(stage, {"artifact": artifact, "reference": reference}, folder / "check").notes["parity"]
