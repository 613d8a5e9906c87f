"""A typed key of the model that nothing reads is refused; one that another precision reads is not."""

from __future__ import annotations

import pytest

from pipeline.config.compose import compose
from pipeline.errors import ConfigError

FILE = ["model=onnx_file", "model.weights=net.onnx"]


@pytest.mark.parametrize(
    ("overrides", "key", "read"),
    [
        ([*FILE, "model.part=encoder"], "model.part", "weights"),
        ([*FILE, "model.factory=net.Net"], "model.factory", "weights"),
        (["model=file", "model.path=net.tflite", "model.weights=net.tflite"], "model.weights", "path"),
        (["model=resnet50", "+model.width=32"], "model.width", "part"),
    ],
)
def test_a_key_that_no_stage_reads_is_refused_with_those_that_are(overrides, key, read):
    with pytest.raises(ConfigError) as raised:
        compose(overrides)
    (problem,) = raised.value.problems
    assert problem.what == f"{key}: no stage of this graph reads it"
    assert read in problem.allowed
    assert problem.command.endswith(" ".join(overrides[:-1]))


@pytest.mark.parametrize(
    "override",
    [
        "model.part=fc",
        "model.dims.batch.max=4",
        "model.calibration.path=photos",  # of precision=int8
        "model.license=mit",
    ],
)
def test_a_key_that_is_read_here_or_by_another_precision_is_not(override):
    compose(["model=resnet50", override])


def test_a_key_of_the_users_own_is_read_where_another_value_refers_to_it():
    custom = ["model=custom", "model.factory=net.Net", "model.weights=random"]
    compose([*custom, "+model.width=32", "+model.kwargs.width=${model.width}"])
