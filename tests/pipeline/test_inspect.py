"""The output of `inspect` for a record."""

from pathlib import Path

import pytest

from pipeline import inspect
from pipeline.record.locate import LocatedRecord


def record(name, **facts):
    precision = {"name": name, "storage": "float32", "compute": "float32"}
    return {
        "model": "net",
        "target": "openvino",
        "drydock": "0.1.0",
        "digest": "ab",
        "precision": precision,
        "facts": facts,
        "checks": [],
        "libraries": {},
        "stages": [],
    }


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (record("fp32"), "precision  fp32: stored float32, computed in float32"),
        (
            record("int8", quantization={"says": "18 of 18 layers"}),
            "precision  int8: what was not quantized is stored float32, computed in float32",
        ),
    ],
    ids=["fp32", "int8"],
)
def test_the_precision_is_named_and_what_was_not_quantized_told_apart(record, says):
    assert says in inspect._lines(LocatedRecord(record, Path("artifact.json")))
