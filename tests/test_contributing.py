"""CONTRIBUTING.md: the page on adding a stage gives a working one, its commands run as they stand in a clone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from checkout import commands, copied, shell


@pytest.mark.slow
def test_the_commands_that_add_a_stage_give_a_working_one(tmp_path: Path) -> None:
    steps = commands("How to add a stage")
    assert len(steps) == 5
    output = shell(copied(tmp_path), *steps)
    assert re.search(r"^round +miss", output, re.MULTILINE)
    assert re.search(r"^check_round +miss", output, re.MULTILINE)
