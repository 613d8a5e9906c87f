"""Merges a LoRA adapter into the model."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Optional, Self

from pipeline.artifact import Artifact, Kind
from pipeline.errors import ConfigError
from pipeline.notes import Facts, Weights
from pipeline.stage import Keep, Stage, World
from stages.loading import checkpoint, shards
from stages.loading import weights as weights_source
from stages.loading.forms import adapter
from stages.loading.pinned import SHA256


@dataclass(frozen=True)
class MergeAdapter(Stage):
    """Computes W + scale * B @ A for each weight of the adapter, as peft's merge_and_unload does.

    peft is not needed. Adapters that do more, such as DoRA, are refused by name.

    Args:
        folder: The folder with adapter_config.json, and adapter_model.safetensors or adapter_model.bin.
        sha256: The SHA-256 of both files together, see shards.digest; None accepts any.

    Source: https://huggingface.co/docs/peft/developer_guides/lora
    """

    folder: str
    # OmegaConf 2.3 reads Optional, not X | None.
    sha256: Annotated[Optional[str], SHA256]

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"module": frozenset({Kind.MODULE})}
    produces: ClassVar[Kind | str] = Kind.MODULE
    requires: ClassVar[tuple[str, ...]] = ("torch",)
    keep: ClassVar[Keep] = Keep.MEMORY

    def settle(self, world: World) -> Self:
        """Settles the folder and its SHA-256. Raises ConfigError for a folder without an adapter that can be merged."""
        folder = Path(self.folder).expanduser().absolute()
        digest = shards.digest(adapter.files(folder), lambda f: weights_source.file_digest(f, world))
        adapter.read(folder / adapter.CONFIG)
        if self.sha256 not in (None, digest):
            wrong = f"folder={folder} has SHA-256 {digest}, the configuration says {self.sha256}"
            raise ConfigError(wrong, command=f"stages.adapter.sha256={digest} if the new content is meant")
        return dataclasses.replace(super().settle(world), folder=str(folder), sha256=digest)

    def identity(self, world: World) -> Mapping[str, Any]:
        return {"sha256": self.sha256}

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        source, original = inputs["module"], inputs["module"].live
        files = adapter.files(Path(self.folder))
        weights_source.expect(files[0], str(self.sha256), shards.digest(files, weights_source.content), "folder")
        lora, state = adapter.read(files[0]), checkpoint.read(files[1:])
        # Another job of a sweep may use the original module: only what changes is copied.
        module = copy.deepcopy(original, {id(p): p for p in original.parameters()})
        changed = adapter.merged(module, state, lora, f"folder={Path(self.folder).name}")
        says = f"LoRA adapter merged into {len(changed)} tensors"
        weights: Weights = source.facts["weights"]
        weights = {**weights, "says": f"{weights['says']}; {says}, of SHA-256 {self.sha256}"}
        return Artifact(Kind.MODULE, live=module, facts=Facts(weights=weights), notes={"says": says})
