"""pipeline/config/resolvers.py."""

import pytest
from omegaconf import OmegaConf

from pipeline.config import resolvers


@pytest.fixture(autouse=True)
def _registered():
    resolvers.register()


@pytest.mark.parametrize(("route", "picked"), [("auto", "a"), ("onnx", "b")])
def test_an_option_is_picked_by_another_choice_and_else_the_other(route, picked):
    assert OmegaConf.create({"route": route, "x": "${pick:${route},{auto: a, else: b}}"}).x == picked


@pytest.mark.parametrize(
    ("checks", "allowed"),
    [(["check_compile", "check_quantize"], 0.3), (["check_compile"], 0.1), (["check_export"], 0.0)],
)
def test_a_tolerance_is_that_of_the_first_check_that_there_is(checks, allowed):
    limits = {"check_compile": 0.1, "check_quantize": 0.3, "check_export": 0.2}
    stages = {name: {"tolerance": {"max_rel": limits[name]}} for name in checks}
    derived = {"tolerance": {"max_rel": "${as_checked:check_quantize,check_compile}"}}
    assert OmegaConf.create({"stages": {**stages, "derived": derived}}).stages.derived.tolerance.max_rel == allowed


@pytest.mark.parametrize(("opset", "there"), [(17, "a"), (18, "b"), (None, "b")])
def test_what_is_below_a_number_has_its_own(opset, there):
    assert OmegaConf.create({"opset": opset, "x": "${below:${opset},18,a,b}"}).x == there
