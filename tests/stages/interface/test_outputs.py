"""interface/outputs.py: what forward returns, taken apart into named tensors."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch

from pipeline.errors import StageError
from stages.interface import outputs as forward_outputs

A, B, C = (torch.full((1,), float(n)) for n in range(3))


class Pair(NamedTuple):
    logits: Any
    aux: Any


@dataclass
class Answer:
    scores: Any
    extra: Any = None


@pytest.mark.parametrize(
    ("returned", "names"),
    [
        (A, {"output": A}),
        ((A, B), {"output_0": A, "output_1": B}),
        ([A], {"output_0": A}),
        ({"out": A, "aux": B}, {"out": A, "aux": B}),
        (OrderedDict(b=A, a=B), {"b": A, "a": B}),
        ({"hidden": (A, [B, C])}, {"hidden_0": A, "hidden_1_0": B, "hidden_1_1": C}),
        ([{"boxes": A}, {"boxes": B}], {"output_0_boxes": A, "output_1_boxes": B}),
        (Pair(A, None), {"logits": A}),
        (Answer(A, {"x.y": B}), {"scores": A, "extra_x_y": B}),
        ({"image": A}, {"image_out": A}),  # the name of an input
        ({"a.b": A, "a_b": B}, {"a_b": A, "a_b_out": B}),
        ({3: A}, {"output_3": A}),
    ],
    ids=str,
)
def test_tensors_are_named_after_their_paths(returned, names):
    paths = forward_outputs.paths_of(returned, None, ["image"])
    assert {n: forward_outputs.at(returned, p) for n, p in paths.items()} == names
    assert {
        n: eval(forward_outputs.expression("returned", p), {"returned": returned}) for n, p in paths.items()
    } == names


@pytest.mark.parametrize(
    ("path", "expected"),
    [("out", A), ("nested.1", C), ("nested.-1", C), ("pair.logits", A), ("answer.scores", B)],
)
def test_some_tensors_can_be_chosen_by_path(path, expected):
    returned = {"out": A, "nested": [B, C], "pair": Pair(A, B), "answer": Answer(B), "cache": object()}
    (path_found,) = forward_outputs.paths_of(returned, [{"y": path}], []).values()
    assert forward_outputs.at(returned, path_found) is expected


@pytest.mark.parametrize(
    ("returned", "outputs", "says"),
    [
        ({"logits": A, "cache": object()}, None, "returns object at cache, which no graph can hold"),
        ((A, 3), None, "returns int at 1"),
        ({}, None, "returns no tensor"),
        ((A, B), ["y"], r"outputs names 1 \(y\), the model returns 2: 0, 1"),
        (A, ["y", "z"], r"(?s)names 2 .* the model returns 1: what forward returns.*model.outputs=\[output\]"),
        ({"logits": A}, [{"y": "logit"}], "has no 'logit', did you mean 'logits'?"),
        ({"hidden": (A, B)}, [{"y": "hidden"}], "which is tuple, no tensor\n  allowed: one of 0, 1 in it"),
        (A, [{"y": "0"}], "has no '0'"),
    ],
)
def test_what_does_not_fit_is_refused(returned, outputs, says):
    with pytest.raises(StageError, match=says):
        forward_outputs.paths_of(returned, outputs, [])


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        ([], "outputs is []"),
        (["a", {"b": "0"}], "outputs is ['a', {'b': '0'}]"),
        (["a", "a"], "outputs is a, a"),
        (["x"], "outputs and inputs both name 'x'"),
        (["1st"], "outputs names '1st'"),
        ([{"for": "0"}], "outputs names 'for'"),
        ([1], "outputs is [1]"),
    ],
)
def test_names_that_no_target_could_use_are_problems(outputs, says):
    assert says in [p.what for p in forward_outputs.problems(outputs, ["x"])]


@pytest.mark.parametrize("outputs", [None, ["y"], [{"y": "0.boxes"}, {"z": 1}]])
def test_sound_outputs_have_no_problems(outputs):
    assert forward_outputs.problems(outputs, ["x"]) == []
