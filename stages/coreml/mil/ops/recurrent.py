"""Recurrent layers over x [sequence, batch, input]. Source: iOS15 recurrent, of float16 too from iOS17 on.

A layer in reverse starts at the end of the sequence; its results keep the order of x.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.errors import StageError, listed
from stages.coreml.mil.ops.activation import relu, sigmoid
from stages.coreml.mil.ops.table import Array, mil

Activation = Callable[[Array], Array]
ACTIVATIONS: dict[str, Activation] = {"sigmoid": sigmoid, "tanh": np.tanh, "relu": relu, "linear": lambda x: x}


def _named(name: str) -> Activation:
    if name not in ACTIVATIONS:
        raise StageError(f"a recurrent layer has the activation {name}", allowed=listed(ACTIVATIONS))
    return ACTIVATIONS[name]


def _through(x: Array, state: Any, step: Callable[[Array, Any], Any], reverse: bool) -> tuple[Array, Any]:
    """The hidden states in the order of x, and the last state. A state is a tuple that starts with the hidden one."""
    seen: list[Array] = []
    for at in reversed(x) if reverse else x:
        state = step(at, state)
        seen.append(state[0])
    return np.stack(seen[::-1] if reverse else seen), state


def _sequence(outputs: Array, last: Array, every: bool) -> Array:
    return outputs if every else last[None]


@mil()
def rnn(
    x: Array,
    initial_h: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias: Any = None,
    direction: str = "forward",
    output_sequence: bool = False,
    activation: str = "tanh",
) -> tuple[Array, Array]:
    """h = activation(W_ih x + W_hh h + b)."""
    act, b = _named(activation), 0 if bias is None else bias

    def step(at: Array, state: tuple[Array]) -> tuple[Array]:
        return (act(at @ weight_ih.T + state[0] @ weight_hh.T + b),)

    outputs, (h,) = _through(x, (initial_h,), step, direction == "reverse")
    return _sequence(outputs, h, bool(output_sequence)), h


@mil()
def gru(
    x: Array,
    initial_h: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias: Any = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    activation: str = "tanh",
) -> tuple[Array, Array]:
    """h = (1 - z) o + z h, gates in the order r, o, z; other than in torch, r multiplies W_ho h without a bias."""
    gate, act = _named(recurrent_activation), _named(activation)
    size = initial_h.shape[-1]
    b = np.zeros(3 * size, x.dtype) if bias is None else bias

    def step(at: Array, state: tuple[Array]) -> tuple[Array]:
        (h,) = state
        given, kept = at @ weight_ih.T + b, h @ weight_hh.T
        r = gate(given[:, :size] + kept[:, :size])
        z = gate(given[:, 2 * size :] + kept[:, 2 * size :])
        o = act(given[:, size : 2 * size] + r * kept[:, size : 2 * size])
        return ((1 - z) * o + z * h,)

    outputs, (h,) = _through(x, (initial_h,), step, direction == "reverse")
    return _sequence(outputs, h, bool(output_sequence)), h


def _lstm_step(weights: tuple[Array, Array], bias: Any, peephole: Any, acts: tuple[Activation, ...]) -> Any:
    """Gates input, forget, output, cell, in that order."""
    weight_ih, weight_hh = weights
    gate, cell, out = acts

    def step(at: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        h, c = state
        i, f, o, z = np.split(at @ weight_ih.T + h @ weight_hh.T + (0 if bias is None else bias), 4, -1)
        pi, pf, po = (0, 0, 0) if peephole is None else np.split(peephole, 3)
        kept = gate(f + pf * c) * c + gate(i + pi * c) * cell(z)
        return gate(o + po * kept) * out(kept), kept

    return step


@mil()
def lstm(
    x: Array,
    initial_h: Array,
    initial_c: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias: Any = None,
    peephole: Any = None,
    weight_ih_back: Any = None,
    weight_hh_back: Any = None,
    bias_back: Any = None,
    peephole_back: Any = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    cell_activation: str = "tanh",
    activation: str = "tanh",
) -> tuple[Array, Array, Array]:
    """Outputs, the last hidden and the last cell state; both ways side by side where bidirectional."""
    acts = (_named(recurrent_activation), _named(cell_activation), _named(activation))
    every = bool(output_sequence)
    one = _lstm_step((weight_ih, weight_hh), bias, peephole, acts)
    if direction != "bidirectional":
        outputs, (h, c) = _through(x, (initial_h, initial_c), one, direction == "reverse")
        return _sequence(outputs, h, every), h, c
    other = _lstm_step((weight_ih_back, weight_hh_back), bias_back, peephole_back, acts)
    starts = list(zip(np.split(initial_h, 2, -1), np.split(initial_c, 2, -1), strict=True))
    there, (h, c) = _through(x, starts[0], one, False)
    back, (h_back, c_back) = _through(x, starts[1], other, True)
    hidden, cell = np.concatenate([h, h_back], -1), np.concatenate([c, c_back], -1)
    return _sequence(np.concatenate([there, back], -1), hidden, every), hidden, cell
