"""An interface in the words of a command line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from stages.interface.interface import Input


def inputs(specs: Mapping[str, Input]) -> str:
    """What to type for some inputs: in place of an earlier one, so all that differ from what a file says are needed."""
    return f"'model.inputs={{{', '.join(f'{name(n)}: {_input(s)}' for n, s in specs.items())}}}'"


def _input(spec: Input) -> str:
    told = [f"shape: {shape(spec.shape)}"]
    told += [] if spec.dtype == "float32" else [f"dtype: {spec.dtype}"]
    if isinstance(spec.fill, Mapping):
        told.append(f"fill: {{{', '.join(f'{k}: {v}' for k, v in spec.fill.items())}}}")
    elif spec.fill != "uniform":
        told.append(f"fill: {spec.fill}")
    return f"{{{', '.join(told)}}}"


def name(text: str) -> str:
    """A name as the key of a mapping, where Hydra gives some characters a meaning."""
    return re.sub(r"([\\()\[\]{}:=, \t])", r"\\\1", text)


def shape(sizes: Sequence[Any]) -> str:
    """A shape."""
    return f"[{', '.join(map(str, sizes))}]"
