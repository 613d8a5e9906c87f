"""Checkpoints of Lightning: which part of the LightningModule the model is, and what it was built with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pipeline.errors import Problem, listed

VERSION, HYPER_PARAMETERS = "pytorch-lightning_version", "hyper_parameters"
PLAIN = (bool, int, float, str, type(None))


def wrote(held: Any) -> bool:
    return isinstance(held, Mapping) and VERSION in held


def parts(state: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What a LightningModule calls each part that is a whole model of this kind, such as "model.", and its state."""
    first = next(iter(own), "")
    found = {}
    for key in state:
        prefix = key.removesuffix(first)
        if first and key.endswith(f".{first}"):
            part = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            if part.keys() == own.keys() and all(part[k].shape == own[k].shape for k in own):
                found[prefix] = part
    return found


def hint(held: Any, kwargs: Mapping[str, Any], takes: Callable[[str], bool]) -> Iterator[Problem]:
    """What a checkpoint says that its module was built with, where a model that was built with other cannot take it.

    Args:
        held: What the file holds.
        kwargs: What the model was built with.
        takes: Whether its factory has a parameter of a name.
    """
    told = held.get(HYPER_PARAMETERS) if wrote(held) else None
    if not isinstance(told, Mapping):
        return
    plain = {k: v for k, v in told.items() if isinstance(k, str) and isinstance(v, PLAIN) and takes(k)}
    if any(k not in kwargs or kwargs[k] != v for k, v in plain.items()):
        yield Problem(
            f"the checkpoint's {HYPER_PARAMETERS} are {listed(f'{k}: {v}' for k, v in plain.items())}",
            command=f"'+model.kwargs={{{', '.join(f'{k}: {_yaml(v)}' for k, v in plain.items())}}}'",
        )


def _yaml(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
