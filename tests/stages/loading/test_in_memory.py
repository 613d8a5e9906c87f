"""loading/in_memory.py: equal modules have equal digests, and whatever forward could read makes another."""

import copy
import functools
import threading

import pytest
import torch
from torch import nn

from stages.loading import in_memory

CODE = {"code": "1"}


def digest(module):
    return in_memory.digest(module, lambda path: CODE)


def net(**attributes):
    torch.manual_seed(0)
    built = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    for name, value in attributes.items():
        setattr(built, name, value)
    return built


def defined(text):
    """A module of a class as a notebook defines it."""
    place = {"nn": nn, "torch": torch, "__name__": "__main__"}
    exec(text, place)
    return place["Net"]()


WRITTEN = """
BY = 2
def helper(x):
    return x * BY
class Net(nn.Module):
    def forward(self, x):
        return helper(x)
"""


def test_an_equal_module_has_the_same_digest_trained_or_not():
    assert digest(net()) == digest(copy.deepcopy(net())) == digest(net().train()) == digest(net().eval())
    assert digest(defined(WRITTEN)) == digest(defined(WRITTEN))


@pytest.mark.parametrize(
    "act",
    ["gelu", 2.0, [1, 2], {"a": torch.ones(2)}, torch.float16, functools.partial(max, 1), torch.relu],
    ids=lambda value: type(value).__name__,
)
def test_another_attribute_is_another_module(act):
    assert digest(net(act=act)) == digest(net(act=act))
    assert digest(net(act=act)) != digest(net(act="relu"))


@pytest.mark.parametrize(
    "change", [("BY = 2", "BY = 3"), ("x * BY", "x + BY"), ("return helper(x)", "return helper(x) + 1")]
)
def test_what_a_notebook_defines_counts_with_all_that_it_refers_to(change):
    assert digest(defined(WRITTEN)) != digest(defined(WRITTEN.replace(*change)))


def test_weights_hooks_and_replaced_methods_count():
    other = net()
    with torch.no_grad():
        other[0].weight[0, 0] += 1e-6
    hooked = net()
    hooked.register_forward_hook(lambda *_: None)
    replaced = net()
    replaced.forward = lambda x: x
    assert len({digest(m) for m in (net(), other, hooked, replaced)}) == 4


def test_what_cannot_be_told_by_content_is_new_each_time():
    guarded = net(lock=threading.Lock())
    assert digest(guarded) != digest(guarded)


def test_code_that_has_changed_is_another_module():
    assert digest(net()) != in_memory.digest(net(), lambda path: {"code": "2"})
