"""CONTRIBUTING.md: the page on adding a stage gives a working one, its commands run as they stand in a clone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FENCED = re.compile(r"^ *```bash\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def commands(section: str) -> list[str]:
    """The shell commands of a section."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (part,) = re.findall(rf"^## {section}\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for block in FENCED.findall(part)]


@pytest.mark.slow  # a stage of the users own is run in test_cli
def test_the_commands_that_add_a_stage_give_a_working_one(tmp_path: Path) -> None:
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    for file in filter(None, files):
        if (ROOT / file).is_file():
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, tmp_path / file)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    steps = commands("How to add a stage")
    assert len(steps) == 5
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(steps)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "DRYDOCK_STORE": str(tmp_path / "store")},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^round +miss", done.stdout, re.MULTILINE)
    assert re.search(r"^check_round +miss", done.stdout, re.MULTILINE)
