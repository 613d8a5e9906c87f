"""Recurrent blocks over several tokens that start from the state of earlier tokens.

transformers' Mamba starts at zeros in every call, and its graph has as many steps as the example had tokens. Here a
text in two calls gives the same answer as in one, and the graph has a Scan. The mask of such blocks is cut to the
tokens of a call by an operator that works the same in a call without earlier tokens.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import torch

from stages.capture import selective_scan

MASK = "create_recurrent_attention_mask"


def has(decoder: Any) -> bool:
    """Whether a model's recurrence can start from a state."""
    return hasattr(_module(decoder), selective_scan.NAME)


@contextlib.contextmanager
def going_on(decoder: Any, states: Sequence[Any]) -> Iterator[None]:
    """Makes a model's blocks start from these states, [batch, channels, size], in order."""
    remaining = iter(states)

    def scanned(hidden: Any, dt: Any, a: Any, b: Any, c: Any, **options: Any) -> Any:
        return selective_scan.scanned(next(remaining), hidden, dt, a, b, c, **options)

    ours = {selective_scan.NAME: scanned, MASK: _mask}
    with contextlib.ExitStack() as stack:
        for name in (n for n in ours if hasattr(_module(decoder), n)):
            stack.enter_context(mock.patch.object(_module(decoder), name, ours[name]))
        yield


def _mask(config: Any, inputs_embeds: Any, attention_mask: Any, past_key_values: Any = None, **_: Any) -> Any:
    return of_call(attention_mask, inputs_embeds.shape[1])


def of_call(mask: Any, tokens: int) -> Any:
    """The mask of this call's tokens, [batch, tokens], from the mask of all tokens, [batch, earlier and these]."""
    return mask.index_select(1, torch.arange(mask.shape[1] - tokens, mask.shape[1], device=mask.device))


def _module(decoder: Any) -> Any:
    return sys.modules[type(decoder).__module__]
