"""The selective scan of state space models as one loop over any number of tokens, which starts from a given state.

transformers has one step for each token of the example, so its graph fits no other length.

Source: Gu and Dao, Mamba: linear-time sequence modeling with selective state spaces, 2023, https://arxiv.org/abs/2312.00752;
transformers/models/mamba
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

# The function in transformers' modules.
NAME = "mamba_selective_scan"


def from_zeros(hidden: Any, dt: Any, a: Any, b: Any, c: Any, **options: Any) -> Any:
    """The scan of a call without earlier tokens; see `scanned`."""
    return scanned(hidden.new_zeros(hidden.shape[0], *a.shape), hidden, dt, a, b, c, **options)


def scanned(
    state: Any,
    hidden: Any,
    dt: Any,
    a: Any,
    b: Any,
    c: Any,
    *,
    D: Any = None,  # noqa: N803
    z: Any = None,
    delta_bias: Any = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    **_: Any,
) -> Any:
    """Replaces transformers' `mamba_selective_scan`, with the same shapes and argument names.

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
