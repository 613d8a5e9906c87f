"""interface/factory.py: what may go wrong in a user's own code, and that it is told in one line."""

from __future__ import annotations

import pytest
import torch

from pipeline.errors import ConfigError, StageError
from stages.interface import factory as factories


def written(folder, **modules):
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("from drydock_b import Other\nclass Net: ...", ConfigError, r"cannot import name.*drydock_b.py:1\)"),
        ("def Net(:", ConfigError, r"cannot be imported: SyntaxError: .*drydock_a.py:1\)"),
        ("import no_such_thing", ConfigError, r"ModuleNotFoundError: .*no_such_thing.*drydock_a.py:1\)"),
        ("1 / 0", ConfigError, r"cannot be imported: ZeroDivisionError: .*drydock_a.py:1\)"),
        ("import sys; sys.exit(0)", ConfigError, r"cannot be imported: SystemExit: 0 \(.*drydock_a.py:1\)"),
        ("Nett = 3", ConfigError, "drydock_a has no 'Net' to call, did you mean 'Nett'"),
        ("def Net():\n  return Net()", StageError, r"calls itself without end: RecursionError.*drydock_a.py:2\)"),
        ("def Net(a): ...", ConfigError, r"does not accept kwargs \{\}: TypeError: .*'a'"),
        ("def Net():\n  {}['gone']", StageError, r"failed with kwargs \{\}: KeyError: 'gone' \(.*drydock_a.py:2\)"),
        ("def Net():\n  raise SystemExit", StageError, r"SystemExit \(.*drydock_a.py:2\)"),
        ("import json\ndef Net():\n  json.loads('{')", ConfigError, r"JSONDecodeError: .*drydock_a.py:3\)"),
        ("def Net():\n  return {}", ConfigError, "returned dict"),
    ],
)
def test_what_goes_wrong_in_a_factory_is_told_with_its_line(package, text, error, says):
    written(package, drydock_a=text, drydock_b="from drydock_a import Net\nOther = 1")
    with pytest.raises(error, match=says) as caught:
        factories.build("drydock_a.Net", {}, 0)
    assert len(caught.value.problems) == 1


class Holds(torch.nn.Module):
    """Modules under the names that a test gives them."""

    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


def test_a_module_that_holds_itself_is_refused():
    inner = Holds()
    outer = Holds(a=Holds(b=inner))
    inner.back = outer
    with pytest.raises(StageError, match=r"the module holds itself: its submodule 'a\.b\.back' is it again"):
        factories.refuse_cycles(outer, "the module")


def test_a_part_that_holds_itself_is_named():
    inner = Holds()
    inner.me = inner
    with pytest.raises(StageError, match=r"its submodule 'a\.me' is 'a' again"):
        factories.refuse_cycles(Holds(a=inner), "the module")


def test_a_part_that_is_used_twice_is_no_circle():
    shared = Holds()
    factories.refuse_cycles(Holds(a=shared, b=Holds(c=shared)), "the module")


def test_ours_are_added_to_the_users_arguments_and_not_shown(package):
    written(package, drydock_a="def Net(seen, hidden):\n  raise ValueError(hidden)")
    with pytest.raises(ConfigError, match=r"kwargs \{'seen': 1\}: ValueError: 2"):
        factories.build("drydock_a.Net", {"seen": 1}, 0, {"hidden": 2})


@torch.jit.script
def doubled(x: torch.Tensor) -> torch.Tensor:
    return x * 2


def returns_it() -> object:
    return doubled


@pytest.mark.parametrize("factory", ["doubled", "returns_it"])
def test_a_scripted_function_is_a_model_itself_or_returned_by_its_factory(factory):
    module = factories.build(f"{__name__}.{factory}", {}, 0)
    assert isinstance(module, torch.nn.Module)
    assert torch.equal(module(torch.ones(2)), torch.full((2,), 2.0))
