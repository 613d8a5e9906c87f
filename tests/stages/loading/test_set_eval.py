"""loading/set_eval.py."""

from __future__ import annotations

import pytest
import torch
from harness import run_stage
from nets import TinyConv
from torch import nn
from torch.nn import utils

from pipeline.artifact import Artifact, Kind
from pipeline.errors import ConfigError
from stages.loading.set_eval import SetEval


def set_eval(net, tmp_path, part=None):
    return run_stage(SetEval(part), Artifact(Kind.MODULE, live=net), tmp_path / "out").live


def test_dropout_and_batch_norm_stop_depending_on_the_batch(tmp_path):
    net = set_eval(nn.Sequential(TinyConv(), nn.Dropout()).train(), tmp_path)
    images = torch.rand(4, 3, 32, 32)
    torch.testing.assert_close(net(images)[:1], net(images[:1]))


def test_every_submodule_is_in_evaluation_mode(tmp_path):
    net = set_eval(nn.Sequential(nn.Sequential(TinyConv())).train(), tmp_path)
    assert [m for m in net.modules() if m.training] == []


def test_gradients_are_off(tmp_path):
    assert not set_eval(TinyConv(), tmp_path)(torch.rand(2, 3, 32, 32)).requires_grad


def test_weights_stay_as_they_are(tmp_path):
    net = TinyConv()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    torch.testing.assert_close(set_eval(net, tmp_path).state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("script", [False, True])
def test_a_part_is_taken_for_the_whole(script, tmp_path):
    net = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 3), nn.Dropout()))
    part = set_eval(torch.jit.script(net) if script else net, tmp_path, "1.0")
    x = torch.rand(4, 3)
    torch.testing.assert_close(part(x), net[1][0](x))


@pytest.mark.parametrize(
    ("net", "says"),
    [
        (nn.ModuleDict({"stem": nn.ReLU(), "heads": nn.ReLU()}), "begins with one of stem, heads\n.*model.part=heads"),
        (nn.ReLU(), "null: it has no parts\n.*model.part=null"),
    ],
)
def test_a_part_that_is_not_there_is_refused_with_those_that_are(net, says, tmp_path):
    with pytest.raises(ConfigError, match=f"part=head: the model has no such part\n.*{says}"):
        set_eval(net, tmp_path, "head")


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize(
    "how",
    [
        utils.weight_norm,
        utils.spectral_norm,
        utils.parametrizations.weight_norm,
        utils.parametrizations.spectral_norm,
        utils.parametrizations.orthogonal,
    ],
    ids=["old weight norm", "old spectral norm", "weight norm", "spectral norm", "orthogonal"],
)
def test_parametrised_weights_are_worked_out_once(how, tmp_path):
    net = nn.Sequential(how(nn.Linear(6, 6)), nn.ReLU())
    x = torch.randn(2, 6)
    net(x)  # spectral normalisation learns while it trains
    expected = net.eval()(x)
    result = set_eval(net, tmp_path)
    torch.testing.assert_close(result(x), expected)
    assert {*result.state_dict()} == {"0.bias", "0.weight"}
