"""Writes an interface as an argument of the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from stages.interface.interface import Input


def inputs(specs: Mapping[str, Input]) -> str:
    """What to type for some inputs. It replaces an earlier setting, so it needs all that differ from the file's."""
    return f"'model.inputs={{{', '.join(f'{name(n)}: {_input(s)}' for n, s in specs.items())}}}'"


def _input(spec: Input) -> str:
    parts = [f"shape: {shape(spec.shape)}"]
    parts += [] if spec.dtype == "float32" else [f"dtype: {spec.dtype}"]
    if isinstance(spec.fill, Mapping):
        parts.append(f"fill: {{{', '.join(f'{k}: {v}' for k, v in spec.fill.items())}}}")
    elif spec.fill != "uniform":
        parts.append(f"fill: {spec.fill}")
    return f"{{{', '.join(parts)}}}"


def name(text: str) -> str:
    """A name as the key of a mapping, with Hydra's special characters escaped."""
    return re.sub(r"([\\()\[\]{}:=, \t])", r"\\\1", text)


def shape(sizes: Sequence[Any]) -> str:
    """A shape as a list of sizes."""
    return f"[{', '.join(map(str, sizes))}]"
