"""Builds a model of the transformers library, with weights from a folder, from the hub, or drawn at random."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Optional, Self

from pipeline.artifact import Artifact, Kind
from pipeline.errors import ConfigError
from pipeline.stage import World
from stages.interface import pictures
from stages.interface.images import Sides
from stages.loading.pretrained import Pretrained

PICTURES = "preprocessor_config.json"


@dataclass(frozen=True)
class LoadTransformers(Pretrained):
    """from_pretrained, or from_config where weights are random. No code from a model's folder is ever run.

    Args:
        picture: Height and width of the pictures that it takes, in pixels; None for those of the folder's
            preprocessor_config.json, if it has one.
        detections: Whether a detector returns scores, labels and boxes instead of logits, see detections.py.
    """

    picture: Annotated[Optional[list[int]], Sides()]
    detections: bool

    def settle(self, world: World) -> Self:
        settled = super().settle(world)
        if settled.weights == "random":
            return settled
        return replace(settled, picture=settled.picture or _picture(Path(settled.weights)))

    def identity(self, world: World) -> Mapping[str, Any]:
        more: dict[str, Any] = {"picture": self.picture} if self.picture else {}
        more |= {"detections": True} if self.detections else {}
        return {**super().identity(world), **more}

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        built = self.built()
        module, facts = built.module, built.facts
        configs = [part.config for part in module.modules() if hasattr(part, "config")]  # a part may have its own
        for config in (*configs, *(getattr(module.config, name) for name in module.config.sub_configs)):
            if getattr(config, "use_cache", False):
                config.use_cache = False  # a graph without cache outputs has no use for keys and values
        if self.detections:
            from stages.loading.detections import Detections  # a module: it needs torch

            module = Detections(module)
        if self.picture:
            facts["source"] = {**facts["source"], "picture": self.picture}
        return Artifact(Kind.MODULE, live=module, facts=facts, notes=built.notes)


def _picture(folder: Path) -> list[int] | None:
    """Height and width of the pictures, from the folder's preprocessor_config.json; None where it has none."""
    if not (folder / PICTURES).is_file():
        return None
    try:
        settings = json.loads((folder / PICTURES).read_text())
        sizes = pictures.of_processor(settings)
    except (ValueError, AttributeError, TypeError) as e:
        raise ConfigError(
            f"weights={folder}: {PICTURES} is damaged: {e}",
            allowed="JSON, as an image processor writes it",
            command="stages.load.picture=[224,224], or the file anew",
        ) from e
    return list(sizes) if sizes else None
