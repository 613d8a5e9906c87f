"""interface/objects.py: what Hydra's instantiate makes of a mapping with a `_target_`, ours makes too."""

from __future__ import annotations

import functools

import pytest
import torch
from hydra.utils import instantiate

from pipeline.errors import ConfigError, StageError
from stages.interface import factory, objects

DESCRIBED = [
    {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 3},
    {"_target_": "torch.nn.Conv2d", "_args_": [3, 8, 3], "padding": 1},
    {"_target_": "torch.nn.GELU", "_partial_": True, "approximate": "tanh"},
    {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "torch.nn.ReLU"}, {"_target_": "torch.nn.Identity"}]},
    {"_target_": "builtins.dict", "deep": {"_target_": "builtins.list", "_args_": [[1, 2]]}, "_convert_": "all"},
    {"_target_": "builtins.dict", "deep": {"_target_": "builtins.list"}, "_recursive_": False, "_convert_": "all"},
    {"_target_": "collections.OrderedDict.fromkeys", "_args_": [["a"]]},
]


def plain(value):
    """What can be compared of an object."""
    return [value.func, value.keywords] if isinstance(value, functools.partial) else repr(value)


@pytest.mark.parametrize("described", DESCRIBED, ids=lambda d: f"{d['_target_']} {len(d)}")
def test_an_object_is_what_hydra_makes_of_the_same(described):
    assert plain(objects.built({"part": [described]}, "kwargs")["part"][0]) == plain(instantiate(described))


def test_objects_in_the_arguments_of_a_factory_are_drawn_with_its_seed():
    inside = {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 2}
    first, again = (
        factory.build("torch.nn.ModuleDict", {"modules": {"a": inside}}, 5, prepare=objects.built) for _ in range(2)
    )
    assert torch.equal(first["a"].weight, again["a"].weight)


@pytest.mark.parametrize(
    ("described", "error", "says"),
    [
        ({"_target_": "torch.nn.Linaer"}, ConfigError, "kwargs.x._target_ torch.nn.Linaer: .*did you mean 'Linear'"),
        ({"_target_": "torch.nn.Linear", "wide": 1}, ConfigError, r"kwargs.x: torch.nn.Linear does not accept wide"),
        ({"_target_": 3}, ConfigError, "kwargs.x._target_ is 3"),
        (
            {"_target_": "operator.getitem", "_args_": [{}, "a"]},
            StageError,
            "kwargs.x: operator.getitem failed: KeyError",
        ),
    ],
)
def test_what_goes_wrong_is_told_with_its_place(described, error, says):
    with pytest.raises(error, match=says):
        objects.built({"x": described}, "kwargs")
