"""loading/take_module.py: a module of the program, for as long as somebody hands it over."""

import pytest
import torch
from harness import run_stage
from torch import nn

from pipeline.errors import ConfigError, StageError
from pipeline.machine.world import ThisMachine
from stages.loading.take_module import TakeModule

CODE = {"code": "1"}


def net(**attributes):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


def test_what_is_made_is_a_copy_and_says_where_it_comes_from(tmp_path):
    original = net()
    with TakeModule.handed(original, lambda path: CODE) as handle:
        result = run_stage(TakeModule(handle), {}, tmp_path / "made")
    with torch.no_grad():
        result.live[0].weight.zero_()
    assert original[0].weight.abs().sum() > 0
    assert result.facts["source"] == {"class": "torch.nn.modules.container.Sequential", "bytes": 80}


def test_what_cannot_be_copied_is_refused(tmp_path):
    with (
        TakeModule.handed(net(counter=(i for i in range(3))), lambda path: CODE) as handle,
        pytest.raises(StageError, match="Sequential cannot be copied"),
    ):
        run_stage(TakeModule(handle), {}, tmp_path / "made")


def test_a_module_is_at_hand_only_as_long_as_somebody_has_it(tmp_path):
    world = ThisMachine(tmp_path / "facts", may_fetch=False)
    with TakeModule.handed(net(), lambda path: CODE) as handle:
        stage = TakeModule(handle)
        with TakeModule.handed(net(), lambda path: CODE) as again:
            assert again == handle
        assert stage.settle(world) == stage
    with pytest.raises(ConfigError, match="this is not that program"):
        stage.settle(world)


def test_torchscript_is_refused_with_the_way_that_takes_it():
    with pytest.raises(ConfigError, match="TorchScript"), TakeModule.handed(torch.jit.script(net()), lambda path: CODE):
        pass
