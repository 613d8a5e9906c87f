"""The error for typed keys of the model that nothing in the graph reads, such as model.part of a file."""

from __future__ import annotations

import re
from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from pipeline.config import again, unresolved
from pipeline.errors import ConfigError, listed

# Read for some precisions, extras and commands alone: a command may have them for all.
ELSEWHERE = ("calibration", "check", "evaluation", "generation", "labels", "license", "quantization")


def refuse(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Raises ConfigError for a typed key of the model that no value of the configuration refers to.

    Args:
        cfg: A whole configuration, without Hydra's own part.
        overrides: The overrides that it was composed with.
    """
    typed = {o: key[1] for o in overrides if (key := re.match(r"\+*model\.(\w+)", o)) and key[1] not in ELSEWHERE}
    if not typed:
        return
    text = "\n".join(value for _, value in unresolved.texts(OmegaConf.to_container(cfg, resolve=False)))
    if "${model}" in text:
        return
    if unread := {o: key for o, key in typed.items() if not re.search(rf"\bmodel\.{key}\b", text)}:
        read = sorted({*re.findall(r"\bmodel\.(\w+)", text)} & {*map(str, cfg.model)})
        raise ConfigError(
            f"{listed(sorted({f'model.{key}' for key in unread.values()}))}: no stage of this graph reads it",
            allowed=f"keys of the model that are read here: {listed(read, 30)}",
            command=again.with_change(overrides, {typed_key: [] for typed_key in unread}),
        )
