"""Recurrent layers over x [sequence, batch, input]. Source: iOS15 and iOS18 recurrent, of float16 too from iOS17 on.

A reverse layer starts at the end of the sequence, and returns its results in the order in which it computed them; the
second half of a bidirectional one returns them in the order of x. The documentation does not say this, but coremltools'
own tests of values do (ops/tests/iOS14/test_recurrent.py), and also that clip bounds the cell state before its use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.errors import StageError, listed
from stages.coreml.mil.ops.activation import relu, sigmoid, sigmoid_hard
from stages.coreml.mil.ops.table import IOS18, Array, mil

Activation = Callable[[Array], Array]


def _hard(x: Array) -> Array:
    return sigmoid_hard(x, np.float32(0.2), np.float32(0.5))


# Two of them have parameters, with the usual values: by coremltools' tests, scaled_tanh is tanh.
ACTIVATIONS: dict[str, Activation] = {
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "relu": relu,
    "linear": lambda x: x,
    "hard_sigmoid": _hard,
    "sigmoid_hard": _hard,
    "scaled_tanh": np.tanh,
}


def _activation(name: str) -> Activation:
    if name not in ACTIVATIONS:
        raise StageError(f"a recurrent layer has the activation {name}", allowed=listed(ACTIVATIONS))
    return ACTIVATIONS[name]


def _through(x: Array, state: Any, step: Callable[[Array, Any], Any], reverse: bool) -> tuple[Array, Any]:
    """The hidden states in the order of computation, and the last state: a tuple that starts with the hidden one."""
    hidden: list[Array] = []
    for at in reversed(x) if reverse else x:
        state = step(at, state)
        hidden.append(state[0])
    return np.stack(hidden), state


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
    act, b = _activation(activation), 0 if bias is None else bias

    def step(at: Array, state: tuple[Array]) -> tuple[Array]:
        return (act(at @ weight_ih.T + state[0] @ weight_hh.T + b),)

    outputs, (h,) = _through(x, (initial_h,), step, direction == "reverse")
    return _sequence(outputs, h, bool(output_sequence)), h


@mil("gru", since=IOS18)
def gru_of_two_biases(
    x: Array,
    initial_h: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias: Any = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    activation: str = "tanh",
    reset_after: bool = False,
    input_bias: Any = None,
) -> tuple[Array, Array]:
    """h = (1 - z) o + z h, gates in the order r, o, z.

    r multiplies h before W_ho does, and no bias: so say coremltools' tests of values; the documentation, r_t * W_ho
    h_{t-1}, allows both. With reset_after it multiplies the product and the bias, as in torch.
    """
    gate, act = _activation(recurrent_activation), _activation(activation)
    hh_r, hh_o, hh_z = np.split(weight_hh, 3)
    of_input = 0 if input_bias is None else input_bias
    b_r, b_o, b_z = (0, 0, 0) if bias is None else np.split(bias, 3)

    def step(at: Array, state: tuple[Array]) -> tuple[Array]:
        (h,) = state
        of_r, of_o, of_z = np.split(at @ weight_ih.T + of_input, 3, -1)
        r, z = gate(of_r + h @ hh_r.T + b_r), gate(of_z + h @ hh_z.T + b_z)
        recurrent = r * (h @ hh_o.T + b_o) if reset_after else (r * h) @ hh_o.T + b_o
        return ((1 - z) * act(of_o + recurrent) + z * h,)

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
    """gru with one bias and without reset_after."""
    activations = (recurrent_activation, activation)
    outputs: tuple[Array, Array]
    outputs = gru_of_two_biases(x, initial_h, weight_ih, weight_hh, bias, direction, output_sequence, *activations)
    return outputs


def _lstm_step(weights: tuple[Array, Array], bias: Any, peephole: Any, acts: tuple[Activation, ...], clip: Any) -> Any:
    """Gates input, forget, output, cell, in that order."""
    weight_ih, weight_hh = weights
    gate, cell, out = acts

    def step(at: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        h, c = state
        i, f, o, z = np.split(at @ weight_ih.T + h @ weight_hh.T + (0 if bias is None else bias), 4, -1)
        pi, pf, po = (0, 0, 0) if peephole is None else np.split(peephole, 3)
        memory = gate(f + pf * c) * c + gate(i + pi * c) * cell(z)
        memory = memory if clip is None else memory.clip(-clip, clip)
        return gate(o + po * memory) * out(memory), memory

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
    clip: Any = None,
) -> tuple[Array, Array, Array]:
    """Outputs, the last hidden and the last cell state; both directions side by side where bidirectional."""
    acts = (_activation(recurrent_activation), _activation(cell_activation), _activation(activation))
    every = bool(output_sequence)
    one = _lstm_step((weight_ih, weight_hh), bias, peephole, acts, clip)
    if direction != "bidirectional":
        outputs, (h, c) = _through(x, (initial_h, initial_c), one, direction == "reverse")
        return _sequence(outputs, h, every), h, c
    other = _lstm_step((weight_ih_back, weight_hh_back), bias_back, peephole_back, acts, clip)
    starts = list(zip(np.split(initial_h, 2, -1), np.split(initial_c, 2, -1), strict=True))
    there, (h, c) = _through(x, starts[0], one, False)
    back, (h_back, c_back) = _through(x, starts[1], other, True)
    hidden, cell = np.concatenate([h, h_back], -1), np.concatenate([c, c_back], -1)
    return _sequence(np.concatenate([there, back[::-1]], -1), hidden, every), hidden, cell
