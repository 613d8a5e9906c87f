"""Converts normalised weights, stored as a length and a direction, into the form that a model has.

Source: T. Salimans, D. Kingma, Weight Normalization (2016). torch has two spellings, of which older files have one:
weight_g and weight_v by torch.nn.utils.weight_norm, and parametrizations.weight.original0 and original1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# The name of the length; its groups are the prefix of the weight's name and the name itself.
LENGTHS = (re.compile(r"((?:.+\.)?)(\w+)_g"), re.compile(r"((?:.+\.)?)parametrizations\.(\w+)\.original0"))
# The names of the length and the direction.
SPELLINGS = (("{}{}_g", "{}{}_v"), ("{}parametrizations.{}.original0", "{}parametrizations.{}.original1"))


def fitted(state: Mapping[str, Any], own: Mapping[str, Any]) -> tuple[Mapping[str, Any], int]:
    """A state dict with its normalised weights in the model's form, and how many were rewritten.

    Args:
        state: Name to tensor, as the file has it.
        own: The model's.
    """
    rewritten, count = dict(state), 0
    for length, pair, other in zip(LENGTHS, SPELLINGS, reversed(SPELLINGS), strict=True):
        for match in filter(None, map(length.fullmatch, state)):
            old, new = ([name.format(*match.groups()) for name in names] for names in (pair, other))
            plain = "".join(match.groups())
            if old[1] not in state or old[0] in own:
                continue
            if new[0] in own:
                rewritten |= {new[n]: rewritten.pop(old[n]) for n in (0, 1)}
            elif plain in own:
                rewritten[plain] = _weight(*(rewritten.pop(name) for name in old))
            else:
                continue
            count += 1
    return rewritten, count


def _weight(length: Any, direction: Any) -> Any:
    """The direction, scaled to that length over the dimensions in which the length has size one."""
    import torch

    dims = [d for d in range(direction.dim()) if length.dim() <= d or length.shape[d] == 1]
    return direction * (length / torch.linalg.vector_norm(direction, dim=dims, keepdim=True))
