"""coreml/mil/operations.py: a package is listed by what it computes, without coremltools."""

import mil_packages
import pytest
from torch import nn

from pipeline import formats
from stages.formats.operations import INPUT, OUTPUT


@pytest.mark.slow  # coremltools writes the package
def test_a_core_ml_program_is_listed_without_coremltools(tmp_path):
    path = mil_packages.traced(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), tmp_path / "net.mlpackage", (2, 3))
    listed = formats.part("coreml", "operations").operations(path)
    assert [one.type for one in listed if one.type not in (INPUT, OUTPUT, "cast")] == ["linear", "relu"]
    (linear,) = (one for one in listed if one.type == "linear")
    assert any("[4, 3]" in value for value in linear.attributes.values())
