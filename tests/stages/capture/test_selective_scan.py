"""capture/selective_scan.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conversions import capture
from transformers import MambaConfig, MambaModel
from transformers.models.mamba import modeling_mamba
from transformers.models.recurrent_gemma import modeling_recurrent_gemma
from transformers.models.rwkv import modeling_rwkv

from stages.capture import selective_scan
from stages.interface.interface import Dim, Input


@pytest.mark.parametrize("tokens", [1, 2, 7])
def test_it_answers_as_transformers_own_whatever_the_options(tokens):
    torch.manual_seed(tokens)
    hidden, dt, z = torch.randn(3, 2, 4, tokens)
    a, b, c = -torch.rand(4, 5), torch.randn(2, 5, tokens), torch.randn(2, 5, tokens)
    for options in (
        {},
        {"D": torch.rand(4), "z": z, "delta_bias": torch.rand(4), "delta_softplus": True, "return_last_state": True},
    ):
        ours = selective_scan.from_zeros(hidden, dt, a, b, c, **options)
        theirs = modeling_mamba.mamba_selective_scan(hidden, dt, a, b, c, **options)
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_rwkv_answers_as_transformers_own_with_and_without_a_state():
    torch.manual_seed(0)
    key, value = torch.randn(2, 3, 5, 4)
    decay, first = torch.randn(2, 4)
    states = (None, tuple(torch.rand(3, 3, 4)))
    for state, returned in ((states[0], False), (states[0], True), (states[1], False)):
        ours = selective_scan.weighted(decay, first, key, value, state, returned)
        theirs = modeling_rwkv.rwkv_linear_attention_cpu(decay, first, key, value, state, returned)
        torch.testing.assert_close(ours[0], theirs[0])
        assert (ours[1] is None) is (theirs[1] is None)
        for one, other in zip(ours[1] or (), theirs[1] or (), strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("begun", [False, True])
def test_recurrent_gemma_answers_as_transformers_own(begun):
    torch.manual_seed(0)
    hidden, gate = torch.randn(3, 5, 4), torch.rand(3, 5, 4)
    reset, state = torch.arange(15).reshape(3, 5, 1) % 4 == 0, torch.rand(3, 4) if begun else None
    ours = selective_scan.gated(None, hidden, gate, reset, state)
    theirs = modeling_recurrent_gemma.RecurrentGemmaRglru._rnn_scan(None, hidden, gate, reset, state)
    torch.testing.assert_close(ours, theirs)


def test_a_mamba_is_captured_for_every_length(tmp_path):
    class Bare(torch.nn.Module):
        def __init__(self):
            super().__init__()
            config = MambaConfig(vocab_size=50, hidden_size=8, num_hidden_layers=1, state_size=4, use_cache=False)
            self.net = MambaModel(config)

        def forward(self, input_ids):
            return self.net(input_ids).last_hidden_state

    torch.manual_seed(0)
    net = Bare().eval()
    inputs = {"input_ids": Input(["batch", "time"], "int64", fill={"integers": [0, 50]})}
    result = capture("export", net, tmp_path, inputs=inputs, dims={"batch": Dim(1, 2, 4), "time": Dim(2, 6, 16)})
    program = result.live.module()
    for batch, time in ((1, 2), (3, 16)):
        ids = torch.from_numpy(np.random.default_rng(0).integers(0, 50, (batch, time)))
        torch.testing.assert_close(program(ids)[0], net(ids), rtol=1e-5, atol=1e-5)
