"""Errors of Hydra, OmegaConf and YAML in our words."""

import logging.config

import pytest
import yaml
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.config import complaints
from pipeline.config.schema import Root
from pipeline.errors import BackendMissing, ConfigError


@pytest.fixture
def conf(tmp_path):
    for group in ("capture", "model", "target", "wiring"):
        (tmp_path / group).mkdir()
    (tmp_path / "config.yaml").write_text("")
    return tmp_path


def raised(act, kind=OmegaConfBaseException):
    with pytest.raises(kind) as caught:
        act()
    return caught.value


def wrapped(cause):
    """An error as Hydra raises it, with the reason as its cause."""
    try:
        raise ConfigCompositionException("Could not override") from cause
    except ConfigCompositionException as e:
        return e


def translate(error, conf):
    translated = complaints.of_hydra(error, conf)
    assert type(translated) is ConfigError
    (problem,) = translated.problems
    assert problem.command
    return problem


def test_what_a_callback_of_ours_says_is_told_as_it_is(conf):
    ours = BackendMissing("mlflow is not installed")
    assert complaints.of_hydra(wrapped(ours), conf) is ours


def test_an_option_that_is_not_there_is_told_with_those_that_are(conf):
    error = MissingConfigException("…", missing_cfg_file="model/resnet5", options=["vit", "resnet50"])
    problem = translate(error, conf)
    assert problem.what == "model=resnet5: there is no such option, did you mean 'resnet50'?"
    assert problem.allowed == "resnet50, vit"
    assert "conf/model/resnet5.yaml" in problem.command


def test_an_option_that_another_choice_asks_for_is_told_with_who_asks(conf):
    error = MissingConfigException("In 'also/mine': Could not find 'tolerance/fp8'", "tolerance/fp8", ["fp16"])
    problem = translate(error, conf)
    assert problem.what.startswith("tolerance=fp8, which also/mine asks for: there is no such option")
    assert "a choice with which also/mine asks for one of these" in problem.command


def test_an_option_that_has_another_name_now_is_told_with_that(conf):
    assert translate(MissingConfigException("…", "also/raw_images"), conf).command == "also=image"


def test_an_option_outside_a_group_is_told_too(conf):
    assert "config=absent: there is no such option" in translate(MissingConfigException("…", "absent"), conf).what


def test_an_unknown_key_at_the_top_may_be_a_group(conf):
    root = OmegaConf.structured(Root)
    problem = translate(wrapped(raised(lambda: root.captrue)), conf)
    assert problem.what == "captrue: there is no such key, did you mean 'capture'?"
    assert "opset" in problem.allowed
    assert "config.yaml" not in problem.allowed
    assert "wiring" not in problem.allowed


def test_an_unknown_key_below_the_top_is_told_with_its_neighbours(conf):
    root = OmegaConf.structured(Root)
    problem = translate(wrapped(raised(lambda: OmegaConf.update(root, "model.inptus", {}))), conf)
    assert problem.what == "model.inptus: there is no such key, did you mean 'inputs'?"
    assert "capture" not in problem.allowed


def test_a_value_of_the_wrong_type_is_told_with_its_place_in_one_line(conf):
    root = OmegaConf.structured(Root)
    problem = translate(wrapped(raised(lambda: OmegaConf.update(root, "opset", "new"))), conf)
    assert problem.what == "opset: Value 'new' of type 'str' could not be converted to Integer"


def test_yaml_that_does_not_parse_is_told_with_file_line_and_column(conf):
    (conf / "bad.yaml").write_text("model:\n  inputs: [1, 2\n")
    with (conf / "bad.yaml").open() as f:
        error = raised(lambda: yaml.safe_load(f), yaml.YAMLError)
    problem = translate(error, conf)
    assert problem.what.startswith(f"{conf / 'bad.yaml'}, line 3, column 1: expected ',' or ']'")
    assert problem.allowed == "YAML"


def test_yaml_that_fails_without_a_place_is_told_without_one(conf):
    assert translate(yaml.MarkedYAMLError(problem="nonsense"), conf).what == "a YAML file: nonsense"


def test_anything_else_is_told_in_one_line(conf):
    assert translate(HydraException("it\n  broke\n    full_key: x"), conf).what == "it broke"


def test_exceptions_that_cause_each_other_come_to_an_end(conf):
    first, second = HydraException("first"), HydraException("second")
    first.__cause__, second.__cause__ = second, first
    assert translate(first, conf).what == "first"


def test_a_log_that_cannot_be_made_is_told_with_its_key():
    error = raised(
        lambda: logging.config.dictConfig({"version": 1, "handlers": {"file": {"class": "x.Y"}}}), ValueError
    )
    translated = complaints.of_logging(error)
    assert str(translated).startswith(
        "hydra.job_logging.handlers.file, or the same of hydra.hydra_logging, cannot be used: "
    )
    assert complaints.of_logging(ValueError("another")) is None
