"""capture/capture_script.py."""

from __future__ import annotations

import pytest
import torch
from conversions import capture
from harness import VECTOR
from nets import ValueBranch
from torch import nn

from pipeline.errors import StageError


def reloaded(captured):
    return torch.jit.load(captured.file)


def test_a_branch_on_values_stays_a_branch(tmp_path):
    net = ValueBranch()
    scripted = reloaded(capture("script", net, tmp_path, inputs=VECTOR))
    for rows in (torch.ones(3, 4), -torch.ones(3, 4)):
        torch.testing.assert_close(scripted(rows)[0], net(rows))


class Halves(nn.Module):
    """A mapping with lists in it, typed as TorchScript wants it."""

    def forward(self, x: torch.Tensor) -> dict[str, list[torch.Tensor]]:
        return {"halves": [x[:, :2] * 2, x[:, 2:] * 3], "whole": [x * 4]}


def test_all_outputs_are_captured_in_order(tmp_path):
    result = capture("script", Halves(), tmp_path, inputs=VECTOR)
    assert [tuple(v.shape) for v in reloaded(result)(torch.rand(3, 4))] == [(3, 2), (3, 2), (3, 4)]


class AnyKeywords(nn.Module):
    """Takes what TorchScript has no type for."""

    def forward(self, x: torch.Tensor, **options: object) -> torch.Tensor:
        return x * 2


def test_source_that_torchscript_does_not_know_is_refused_with_another_way(tmp_path):
    with pytest.raises(StageError, match=r"(?s)cannot compile the model: .*try: +capture=export or capture=trace"):
        capture("script", AnyKeywords(), tmp_path, inputs=VECTOR)
