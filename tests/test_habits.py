"""The files for GitHub, editors and git agree with what `make` does."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from pre_commit.clientlib import load_config

ROOT = Path(__file__).resolve().parent.parent
MAKEFILE = (ROOT / "Makefile").read_text()
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
WORKFLOW: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
VERSIONS = ["3.11", "3.12", "3.13"]


def test_every_python_that_the_package_admits_is_tried() -> None:
    assert PROJECT["project"]["requires-python"] == f">={VERSIONS[0]},<3.14"
    assert WORKFLOW["jobs"]["test"]["strategy"]["matrix"]["python"] == VERSIONS
    assert f"for version in {' '.join(VERSIONS)};" in MAKEFILE


def test_the_forge_runs_what_a_contributor_runs() -> None:
    commands = [step["run"] for step in WORKFLOW["jobs"]["test"]["steps"] if "run" in step]
    assert commands == ["make test PYTHON=python"]
    assert "make test" in (ROOT / ".ci/run").read_text()


def test_the_hooks_are_valid_and_run_every_linter_of_make_lint() -> None:
    hooks = [hook for repo in load_config(str(ROOT / ".pre-commit-config.yaml"))["repos"] for hook in repo["hooks"]]
    (lint,) = re.findall(r"^lint:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    linters = {" ".join(line.split()[:2]).removeprefix("$(BIN)/") for line in lint.splitlines()}
    entries = [hook["entry"].removeprefix(".venv/bin/") for hook in hooks]
    assert len(linters) == 4
    assert [name for name in linters if not any(entry.startswith(name) for entry in entries)] == []
    assert {hook["language"] for hook in hooks} == {"unsupported"}  # nothing is downloaded


def test_coverage_has_a_floor_and_counts_processes_that_tests_start() -> None:
    coverage = PROJECT["tool"]["coverage"]
    assert coverage["report"]["fail_under"] > 50
    assert coverage["run"]["source"] == ["pipeline", "stages"]
    assert "subprocess" in coverage["run"]["patch"]


@pytest.mark.parametrize("form", sorted(p.name for p in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")))
def test_a_form_for_issues_asks_for_something_by_a_label_of_its_own(form: str) -> None:
    read = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE" / form).read_text())
    if form == "config.yml":
        assert read["blank_issues_enabled"] is True
        return
    fields = [field for field in read["body"] if field["type"] != "markdown"]
    assert {"name", "description", "body"} <= read.keys()
    assert len({field["id"] for field in fields}) == len(fields)
    assert any(field.get("validations", {}).get("required") for field in fields)
