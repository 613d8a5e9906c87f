"""Recurrent blocks over several tokens that start from the state of earlier tokens.

transformers' Mamba starts at zeros in every call, and its graph has as many steps as the example had tokens. Here a
text in two calls gives the same answer as in one, and the graph has a Scan. The mask of such blocks is cut to the
tokens of a call by an operator that works the same in a call without earlier tokens.

Source: Gu and Dao, Mamba: linear-time sequence modeling with selective state spaces, 2023; transformers/models/mamba
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import torch
from torch.nn import functional

SCAN, MASK = "mamba_selective_scan", "create_recurrent_attention_mask"


def has(decoder: Any) -> bool:
    """Whether a model's recurrence can start from a state."""
    return hasattr(_module(decoder), SCAN)


@contextlib.contextmanager
def going_on(decoder: Any, states: Sequence[Any]) -> Iterator[None]:
    """Makes a model's blocks start from these states, [batch, channels, size], in order."""
    remaining = iter(states)

    def scanned(hidden: Any, dt: Any, a: Any, b: Any, c: Any, **options: Any) -> Any:
        return _scanned(next(remaining), hidden, dt, a, b, c, **options)

    ours = {SCAN: scanned, MASK: _mask}
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


def _scanned(
    state: Any,
    hidden: Any,
    dt: Any,
    a: Any,
    b: Any,
    c: Any,
    *,
    D: Any,  # noqa: N803
    z: Any,
    delta_bias: Any,
    delta_softplus: bool,
    return_last_state: bool,
    **_: Any,
) -> Any:
    """Replaces the library's `mamba_selective_scan`, with the same shapes and argument names.

    Args:
        state: [batch, channels, size].
        hidden: [batch, channels, tokens], as are dt and z.
        a: [channels, size].
        b: [batch, size, tokens], as is c.
    """
    dt = dt if delta_bias is None else dt + delta_bias.to(dt.dtype)[..., None]
    if delta_softplus:  # a form without loss of digits at small values: OpenVINO's own operator adds one first
        dt = dt.clamp(min=0) + torch.log1p(torch.exp(-dt.abs()))
    # Tokens first, so that both loops take them one by one.
    decay = torch.exp(a[None, None] * dt.permute(2, 0, 1)[..., None])
    fed = (dt * hidden).permute(2, 0, 1)[..., None] * b.permute(2, 0, 1)[:, :, None, :]
    if torch.compiler.is_exporting():
        from torch._higher_order_ops.scan import scan

        last, states = scan(_step, state, (decay, fed), dim=0)
    else:
        every = []
        for token in range(len(decay)):
            state = decay[token] * state + fed[token]
            every.append(state)
        last, states = state, torch.stack(every)
    outputs = (states @ c.permute(2, 0, 1)[..., None])[..., 0].permute(1, 2, 0)
    outputs = outputs if D is None else outputs + hidden * D[None, :, None]
    outputs = outputs if z is None else outputs * functional.silu(z)
    return (outputs, last) if return_last_state else outputs


def _step(state: Any, token: Any) -> Any:
    decay, fed = token
    state = decay * state + fed
    return state, state.clone()
