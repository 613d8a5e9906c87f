"""The stages that compress Core ML packages, with the settings of their YAML, but that small weights count too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness import CONF, NOTHING_IGNORED, run_stage
from omegaconf import OmegaConf

from pipeline.artifact import Artifact
from stages.checking.check import Check
from stages.coreml.palettize_coreml import PalettizeCoreml
from stages.coreml.prune_coreml import PruneCoreml
from stages.coreml.quantize_coreml import QuantizeCoreml
from stages.portable.comparison import Tolerance


def quantize(**settings: Any) -> QuantizeCoreml:
    return QuantizeCoreml(**_settings("quantize_coreml", settings))


def palettize(**settings: Any) -> PalettizeCoreml:
    return PalettizeCoreml(**_settings("palettize_coreml", settings))


def prune(**settings: Any) -> PruneCoreml:
    return PruneCoreml(**_settings("prune_coreml", settings))


def _settings(stage: str, given: dict[str, Any]) -> dict[str, Any]:
    told: Any = OmegaConf.to_container(OmegaConf.load(CONF / "stage" / f"{stage}.yaml"))
    for other in ("defaults", "_target_", "needs"):
        del told[other]
    fixed = {"weight_threshold": 0, "joint_compression": False, "deployment_target": "iOS18"}
    return {**told, **fixed, "ignored": NOTHING_IGNORED, **given}


def check(artifact: Artifact, reference: Artifact, folder: Path, limits: Tolerance, **settings: Any) -> Any:
    """The figures of a check that passes."""
    stage = Check(settings.pop("compute", "float32"), settings, [], limits, False)
    return run_stage(stage, {"artifact": artifact, "reference": reference}, folder / "check").notes["parity"]
