"""Checkpoints of Lightning: the part of the LightningModule that is the model, and the arguments it was built with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pipeline.errors import Problem, listed

VERSION, HYPER_PARAMETERS = "pytorch-lightning_version", "hyper_parameters"
PLAIN = (bool, int, float, str, type(None))


def wrote(content: Any) -> bool:
    return isinstance(content, Mapping) and VERSION in content


def parts(state: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The state of each part of a LightningModule that is a whole model of this kind, by prefix, such as "model."."""
    first = next(iter(own), "")
    by_prefix = {}
    for key in state:
        prefix = key.removesuffix(first)
        if first and key.endswith(f".{first}"):
            part = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            if part.keys() == own.keys() and all(part[k].shape == own[k].shape for k in own):
                by_prefix[prefix] = part
    return by_prefix


def hint(content: Any, kwargs: Mapping[str, Any], takes: Callable[[str], bool]) -> Iterator[Problem]:
    """A hint where a checkpoint records other arguments than the model was built with.

    Args:
        content: The content of the file.
        kwargs: What the model was built with.
        takes: Whether the factory has a parameter of this name.
    """
    recorded = content.get(HYPER_PARAMETERS) if wrote(content) else None
    if not isinstance(recorded, Mapping):
        return
    plain = {k: v for k, v in recorded.items() if isinstance(k, str) and isinstance(v, PLAIN) and takes(k)}
    if any(k not in kwargs or kwargs[k] != v for k, v in plain.items()):
        yield Problem(
            f"the checkpoint's {HYPER_PARAMETERS} are {listed(f'{k}: {v}' for k, v in plain.items())}",
            command=f"'+model.kwargs={{{', '.join(f'{k}: {_yaml(v)}' for k, v in plain.items())}}}'",
        )


def _yaml(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
