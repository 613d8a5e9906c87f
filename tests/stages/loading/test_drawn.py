"""Random weights are changed where a check could not work with them, and nowhere else."""

from __future__ import annotations

import pytest
import torch
from nets import TinyConv
from torch import nn

from stages.loading import drawn


def test_a_matrix_left_at_zero_is_drawn_and_the_rest_left_alone():
    net = TinyConv()
    torch.nn.init.zeros_(net.head.weight)
    torch.nn.init.zeros_(net.head.bias)
    before = net.conv.weight.clone()
    drawn.enliven(net, seed=0)
    assert float(net.head.weight.detach().std()) == pytest.approx(0.02, rel=0.5)  # 40 samples of N(0, 0.02)
    assert torch.equal(net.conv.weight, before)
    assert not net.head.bias.any()


@pytest.mark.parametrize("scale", [1.0, 0.02])
def test_a_norm_that_saw_no_data_is_set_to_what_its_convolution_makes_of_noise(scale):
    net = torch.nn.Sequential(torch.nn.Conv2d(16, 8, 3, bias=False), torch.nn.BatchNorm2d(8)).eval()
    torch.nn.init.constant_(net[1].weight, scale)
    drawn.enliven(net, seed=0)
    answers = net(torch.randn(4, 16, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert answers.std((0, 2, 3)).tolist() == pytest.approx([1.0] * 8, rel=0.1)


def test_a_norm_with_statistics_of_its_own_keeps_them():
    net = TinyConv()  # it sets them
    net.norm.running_mean.zero_()
    before = net.norm.running_var.clone()
    drawn.enliven(net, seed=0)
    assert torch.equal(net.norm.running_var, before)


def test_only_what_is_named_is_drawn():
    net = TinyConv()
    torch.nn.init.zeros_(net.head.weight)
    drawn.enliven(net, seed=0, only=("head.bias",))
    assert not net.head.weight.any()


def test_biases_near_zero_are_drawn():
    net = torch.nn.Linear(400, 400)
    torch.nn.init.normal_(net.bias, std=1e-6)
    drawn.enliven(net, seed=0)
    assert float(net.bias.detach().std()) == pytest.approx(0.02, rel=0.2)


class Branches(nn.Module):
    """Sums of four branches, one after another, as timm says the input's size."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.pretrained_cfg = {"input_size": (4, 12, 12)}
        branches = [
            nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)) for _ in range(4 * count)
        ]
        self.branches = nn.ModuleList(branches)

    def forward(self, x):
        for first in range(0, len(self.branches), 4):
            x = sum(branch(x) for branch in self.branches[first : first + 4]) + x
        return x


@pytest.mark.parametrize(("count", "tamed"), [(2, False), (20, True)])
def test_activations_that_grow_a_thousandfold_are_tamed_and_others_left_alone(count, tamed):
    torch.manual_seed(0)
    net = Branches(count)
    drawn.enliven(net, seed=0)
    assert net.training
    largest = net.eval()(torch.rand(2, 4, 12, 12, generator=torch.Generator().manual_seed(1))).abs().max()
    assert largest < 1e3
    powers = torch.cat([b[1].running_var for b in net.branches]).log2()
    assert bool((powers == powers.round()).all()) is tamed
