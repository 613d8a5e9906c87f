"""Recurrences over tokens as one loop over any number of them: state space models, RecurrentGemma and RWKV.

transformers has one step for each token of the example, so its graph fits no other length.

Source: Gu and Dao, Mamba: linear-time sequence modeling with selective state spaces, 2023, https://arxiv.org/abs/2312.00752;
De et al., Griffin, 2024, https://arxiv.org/abs/2402.19427; Peng et al., RWKV, 2023, https://arxiv.org/abs/2305.13048;
transformers/models/mamba, recurrent_gemma, rwkv
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

# In transformers' modules: a function, a method and another function.
NAME = "mamba_selective_scan"
GATED, CLASS = "_rnn_scan", "RecurrentGemmaRglru"
WEIGHTED = "rwkv_linear_attention_cpu"


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
    last, states = _looped(_step, state, (decay, fed))
    outputs = (states @ c.permute(2, 0, 1)[..., None])[..., 0].permute(1, 2, 0)
    outputs = outputs if D is None else outputs + hidden * D[None, :, None]
    outputs = outputs if z is None else outputs * functional.silu(z)
    return (outputs, last) if return_last_state else outputs


def gated(
    _: Any, hidden_states: Any, recurrent_gate: Any, reset: Any, recurrent_states: Any, acc_dtype: Any = torch.float32
) -> tuple[Any, Any]:
    """Replaces transformers' `RecurrentGemmaRglru._rnn_scan`, with the same shapes and argument names.

    Args:
        hidden_states: [batch, tokens, width], as is recurrent_gate.
        reset: [batch, tokens, 1], where the state begins anew.
        recurrent_states: [batch, width]; None for zeros.
    """
    if recurrent_states is None:
        recurrent_states = hidden_states.new_zeros(hidden_states[:, 0].shape, dtype=acc_dtype)
    tokens = ((recurrent_gate * ~reset).to(acc_dtype).transpose(0, 1), hidden_states.to(acc_dtype).transpose(0, 1))
    last, states = _looped(_step, recurrent_states, tokens)
    return states.transpose(0, 1).to(hidden_states.dtype), last


def weighted(
    time_decay: Any, time_first: Any, key: Any, value: Any, state: Any = None, return_state: bool = False
) -> tuple[Any, Any]:
    """Replaces transformers' `rwkv_linear_attention_cpu`, with the same shapes and argument names.

    Args:
        time_decay: [width], as is time_first.
        key: [batch, tokens, width], as is value.
        state: Numerator, denominator and largest exponent, each [batch, width]; None for the beginning.
    """
    returned = return_state or state is not None
    if state is None:
        none = torch.zeros_like(key[:, 0], dtype=torch.float32)
        state = (none, none.clone(), none - 1e38)
    keys, values = key.float().transpose(0, 1), value.transpose(0, 1)
    decays = (-torch.exp(time_decay)).expand_as(keys)
    last, outputs = _looped(_weighed, tuple(state), (keys, keys + time_first, values, decays))
    return outputs.transpose(0, 1).to(key.dtype), last if returned else None


def _looped(step: Any, state: Any, tokens: tuple[Any, ...]) -> tuple[Any, Any]:
    """The last state and what every step answers: by a loop in the program, or here, where nothing is captured.

    Args:
        step: Takes a state and one token of each tensor; returns the next state and an answer.
        state: What it begins with.
        tokens: With the tokens along the first dimension.
    """
    if torch.compiler.is_exporting():
        from torch._higher_order_ops.scan import scan

        last, answers = scan(step, state, tokens, dim=0)
        return last, answers
    every = []
    for token in zip(*tokens, strict=True):
        state, answer = step(state, token)
        every.append(answer)
    return state, torch.stack(every)


def _step(state: Any, token: Any) -> Any:
    decay, fed = token
    state = decay * state + fed
    return state, state.clone()


def _weighed(state: Any, token: Any) -> Any:
    """One step of RWKV's weighted mean; exponents are relative to the largest, so that none overflows."""
    above, below, largest = state
    key, first, value, decay = token
    peak = torch.maximum(largest, first)
    old, new = torch.exp(largest - peak), torch.exp(first - peak)
    answer = (old * above + new * value) / (old * below + new)
    peak = torch.maximum(largest + decay, key)
    old, new = torch.exp(largest + decay - peak), torch.exp(key - peak)
    return (old * above + new * value, old * below + new, peak), answer
