"""coreml/rewrites/scans.py: recurrences of any length are steps that Core ML has, with the same answers."""

from __future__ import annotations

import pytest
import torch
from conversions import capture
from coreml_stages import compile_coreml
from harness import backend, reference_in, run_stage, tolerance
from torch import nn
from torch._higher_order_ops.scan import scan

from pipeline.errors import StageError
from stages.formats import session
from stages.interface.interface import Dim, Input
from stages.reference import parity

backend("coremltools")
DIMS = {"batch": Dim(1, 2, 3), "tokens": Dim(1, 4, 21)}
INPUTS = {"x": Input(["tokens", "batch", 3], fill="normal")}


class Recurrent(nn.Module):
    """A state that decays and is fed, with a beginning of its own."""

    def __init__(self, step) -> None:
        super().__init__()
        self.begin = nn.Parameter(torch.arange(3.0))
        self._step = step

    def forward(self, x):
        state = self.begin.expand(x.shape[1], 3).clone()
        if torch.compiler.is_exporting():
            last, every = scan(self._step, state, (x.sigmoid(), x), dim=0)
            return last, every
        states = []
        for decay, fed in zip(x.sigmoid(), x, strict=True):
            state, _ = self._step(state, (decay, fed))
            states.append(state)
        return state, torch.stack(states)


def linear(state, token):
    decay, fed = token
    state = decay * state + fed
    return state, state.clone()


def curved(state, token):
    decay, fed = token
    state = (decay * state + fed).tanh()
    return state, state.clone()


def test_a_linear_recurrence_of_any_length_is_converted(tmp_path):
    program = capture("export", Recurrent(linear).eval(), tmp_path, inputs=INPUTS, dims=DIMS)
    converted = run_stage(compile_coreml(), program, tmp_path / "package")
    running = session.open_session(converted, "float32")
    comparison = parity.measure(converted, running, reference_in(tmp_path), tolerance("fp32"))
    assert (comparison.wrong, comparison.left_out) == ([], [])


def test_another_recurrence_is_refused(tmp_path):
    program = capture("export", Recurrent(curved).eval(), tmp_path, inputs=INPUTS, dims=DIMS)
    with pytest.raises(StageError, match="no translation of scan"):
        run_stage(compile_coreml(), program, tmp_path / "package")
