"""Our own resolvers for ${…} in YAMLs, beside those of OmegaConf."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import Node, OmegaConf

from pipeline.config import pictures


def register() -> None:
    """Registers the resolvers with OmegaConf."""
    OmegaConf.register_new_resolver("pick", _pick, replace=True)
    OmegaConf.register_new_resolver("below", _below, replace=True)
    OmegaConf.register_new_resolver("as_checked", _as_checked, replace=True)
    OmegaConf.register_new_resolver("picture_shape", pictures.shape, replace=True)
    OmegaConf.register_new_resolver("picture_preprocessing", pictures.preprocessing, replace=True)


def _pick(chosen: str, options: Mapping[str, str]) -> str:
    """`${pick:${route},{auto: A, else: B}}` in a defaults list: A if route=auto was chosen, otherwise B."""
    return options.get(chosen, options["else"])


def _below(number: int | None, limit: int, below: Any, other: Any) -> Any:
    """`${below:${opset},18,A,B}`: A if the opset is less than 18; B if it is not, or if there is none."""
    return below if number is not None and number < limit else other


def _as_checked(*checks: str, _root_: Any, _node_: Node) -> Any:
    """`max_rel: ${as_checked:check_quantize,check_compile}`: max_rel of the first of these checks that the graph has.

    Without any of them, the strictest value: such a graph lacks a check, and another error reports that.
    """
    for check in checks:
        if (tolerance := OmegaConf.select(_root_, f"stages.{check}.tolerance")) is not None:
            return tolerance[_node_._key()]
    return {"noise": None, "families": "sizes"}.get(_node_._key(), 0.0)
