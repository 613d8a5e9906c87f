"""One verb, four places: conf/stage/, stages/, tests/stages/ and the import contracts name the same stages."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from pipeline.config.instantiate import find_stage

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
STAGES = sorted(p.stem for p in (CONF / "stage").glob("*.yaml"))
YAMLS = sorted(str(p.relative_to(CONF)) for p in CONF.rglob("*.yaml"))


def stage_modules():
    return sorted(p.stem for p in (ROOT / "stages").glob("*.py") if not p.stem.startswith("_"))


def independent_modules():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (independence,) = (c for c in contracts if c["type"] == "independence")
    return sorted(m.removeprefix("stages.") for m in independence["modules"])


def written_keys(yaml):
    """The keys that a YAML itself writes, whatever its defaults bring."""
    return {str(k) for k in OmegaConf.load(CONF / yaml)} - {"defaults"}


def test_the_stages_are_the_same_in_all_four_places():
    tested = {p.stem.removeprefix("test_") for p in (ROOT / "tests" / "stages").glob("test_*.py")}
    assert len(STAGES) >= 12
    assert stage_modules() == STAGES
    assert independent_modules() == STAGES
    assert tested >= set(STAGES)


def test_a_test_without_a_stage_is_of_a_part_that_stages_share():
    tested = {p.stem.removeprefix("test_") for p in (ROOT / "tests" / "stages").glob("test_*.py")}
    shared = {p.stem.removeprefix("_") for p in (ROOT / "stages").glob("_*")}
    assert tested - set(STAGES) <= shared


def test_there_are_yamls():
    assert len(YAMLS) >= 30


@pytest.mark.parametrize("yaml", YAMLS)
def test_every_yaml_opens_with_a_sentence(yaml):
    lines = (line for line in (CONF / yaml).read_text().splitlines() if not line.startswith("# @package"))
    assert re.match(r"# [A-Za-z`].{20,}", next(lines))


@pytest.mark.parametrize("name", STAGES)
def test_a_stages_yaml_writes_out_every_setting_and_no_other(name):
    written = written_keys(f"stage/{name}.yaml")
    stage = find_stage(OmegaConf.load(CONF / "stage" / f"{name}.yaml")["_target_"])
    assert written == {"_target_", "needs", *(f.name for f in dataclasses.fields(stage))}


@pytest.mark.parametrize("name", STAGES)
def test_a_stages_yaml_builds_the_stage_of_its_name(name):
    target = OmegaConf.load(CONF / "stage" / f"{name}.yaml")["_target_"]
    assert target == f"stages.{name}.{name.title().replace('_', '')}"


@pytest.mark.parametrize("name", STAGES)
def test_settings_have_no_second_default_in_python(name):
    stage = find_stage(f"stages.{name}.{name.title().replace('_', '')}")
    missing = dataclasses.MISSING
    assert [f.name for f in dataclasses.fields(stage) if (f.default, f.default_factory) != (missing, missing)] == []


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_is_typed_by_its_schema(name):
    assert f"/wiring/schema/{name}@_here_" in OmegaConf.load(CONF / "stage" / f"{name}.yaml")["defaults"]
