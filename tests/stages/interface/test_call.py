"""interface/call.py: from named tensors to forward's arguments and back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from stages.interface import call as forward_call
from stages.interface.interface import Input, Interface, Output

INPUTS = {name: Input([2]) for name in ("a", "b", "c")}
A, B, C = (torch.full((2,), float(n)) for n in range(3))
TENSORS = {"a": A, "b": B, "c": C}


class Recorder(nn.Module):
    """Remembers how it was called."""

    def forward(self, *args, **kwargs):
        self.called = (args, kwargs)
        return {"out": (A, B)}


CALLS = [
    (None, ((A, B, C), {})),
    ({"args": ["c", "a", "b"]}, ((C, A, B), {})),
    ({"args": ["a"], "kwargs": {"y": "b", "x": "c"}}, ((A,), {"y": B, "x": C})),
    ({"args": [["a", "b"], "c"]}, (([A, B], C), {})),
    ({"args": [{"_tuple_": ["a", "b"]}, {"_tuple_": ["c"]}]}, (((A, B), (C,)), {})),
    ({"args": [{"q": "a", "k": {"v": ["b", "c"]}}]}, (({"q": A, "k": {"v": [B, C]}},), {})),
    (
        {"args": ["a", "b", "c", 2.5, True, None], "kwargs": {"mode": {"_value_": "a"}, "sizes": [1, 2]}},
        ((A, B, C, 2.5, True, None), {"mode": "a", "sizes": [1, 2]}),
    ),
]


@pytest.mark.parametrize(("call", "expected"), CALLS)
def test_the_model_and_its_wrapper_are_called_alike(call, expected):
    assert forward_call.problems(call, INPUTS) == []
    args, kwargs = forward_call.arguments(call, TENSORS)
    assert (tuple(args), kwargs) == expected
    net = Recorder()
    outputs = {"y": Output(["out", 1], [2], "float32"), "x": Output(["out", -2], [2], "float32")}
    returned = forward_call.bind(net, Interface(INPUTS, outputs=outputs, call=call))(A, B, C)
    assert net.called == expected
    assert returned == (B, A)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ({"arguments": []}, "call has 'arguments'"),
        ({"args": "a"}, "call is"),
        ({"args": ["a", "b", "d"]}, "call names 'd', which is no input"),
        ({"args": ["a", "b"]}, "call uses no c"),
        ({"args": ["a", "b", "c"], "kwargs": {"is": True}}, "call.kwargs has 'is'"),
    ],
)
def test_each_problem_names_its_place(call, says):
    assert any(says in p.what for p in forward_call.problems(call, INPUTS))


@pytest.mark.parametrize("training", [True, False])
def test_the_wrapper_is_in_the_mode_of_the_model(training):
    net = Recorder().train(training)
    bound = forward_call.bind(net, Interface(INPUTS, outputs={"y": Output([], [2], "float32")}))
    assert (bound.training, net.training) == (training, training)


def test_two_wrappers_in_one_process_are_compiled_from_their_own_source():
    class Affine(nn.Module):
        def forward(self, x: torch.Tensor, factor: float, offset: float) -> torch.Tensor:
            return x * factor + offset

    def scripted(factor):
        call = {"args": ["a", factor, 1.0]}
        outputs = {"y": Output([], [2], "float32")}
        return torch.jit.script(forward_call.bind(Affine(), Interface({"a": Input([2])}, outputs=outputs, call=call)))

    twice, thrice = scripted(2.0), scripted(3.0)
    assert torch.equal(twice(B)[0], B * 2 + 1)
    assert torch.equal(thrice(B)[0], B * 3 + 1)


@torch.jit.script
def scripted_function(x: torch.Tensor, scale: float, flip: bool) -> torch.Tensor:
    y = x * scale
    if flip:
        y = -y
    return y


def test_a_scripted_function_becomes_a_module_that_can_be_scripted_with_its_own_types():
    module = forward_call.of_function(scripted_function)
    assert torch.equal(module(A + 1, 2.0, True), -2 * (A + 1))
    assert torch.equal(torch.jit.script(module)(A + 1, 2.0, False), 2 * (A + 1))
