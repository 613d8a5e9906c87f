"""api/examples.py: what example tensors say of a model's inputs."""

import numpy as np
import pytest
import torch

from pipeline.api import examples
from pipeline.errors import ConfigError


def forward(ids, mask, scale=None):
    return ids, mask, scale


IDS, MASK = torch.tensor([[3, 7, 2], [0, 1, 4]]), torch.ones(2, 3, dtype=torch.int64)


def test_inputs_are_named_after_parameters_and_drawn_as_the_examples_are():
    shown = examples.describe(forward, (IDS, MASK, np.ones((2, 1), np.float32)), {0: "batch"}, None)
    assert shown.inputs == {
        "ids": {"shape": ["batch", 3], "dtype": "int64", "fill": {"integers": [0, 8]}},
        "mask": {"shape": ["batch", 3], "dtype": "int64", "fill": "mask"},
        "scale": {"shape": ["batch", 1], "dtype": "float32", "fill": None},
    }
    assert shown.dims == {"batch": {"min": 1, "opt": 2, "max": 8}}
    assert shown.call is None
    assert shown.arrays["ids"].tolist() == IDS.tolist()


def test_a_mapping_out_of_order_is_given_by_keyword():
    assert examples.describe(forward, {"ids": IDS, "scale": IDS}, None, None).call == {
        "kwargs": {"ids": "ids", "scale": "scale"}
    }
    assert examples.describe(forward, {"ids": IDS, "mask": MASK}, None, None).call is None


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((1, 32), {"min": 1, "opt": 3, "max": 32}),
        ((4, 32), {"min": 4, "opt": 4, "max": 32}),
        ((1, 2, 9), {"min": 1, "opt": 2, "max": 9}),
        ({"min": 2, "opt": 4, "max": 8, "multiple": 2}, {"min": 2, "opt": 4, "max": 8, "multiple": 2}),
    ],
)
def test_a_range_is_smallest_usual_largest(sizes, expected):
    assert examples.describe(forward, (IDS,), {"ids": {1: "words"}}, {"words": sizes}).dims == {"words": expected}


@pytest.mark.parametrize(
    ("inputs", "dynamic", "dims", "words"),
    [
        ((IDS,), {1: "words"}, None, "'words' has no range"),
        ((IDS,), {"id": {0: "batch"}}, None, "'id', which is no input"),
        ((IDS,), {2: "batch"}, None, "axis 2, and its example 2 dimensions"),
        ((IDS,), {0: "batch"}, {"bach": (1, 2)}, "'bach', which no axis"),
        (([IDS],), {}, None, "has list for ids"),
    ],
)
def test_what_does_not_fit_is_named(inputs, dynamic, dims, words):
    with pytest.raises(ConfigError, match=words):
        examples.describe(forward, inputs, dynamic, dims)
