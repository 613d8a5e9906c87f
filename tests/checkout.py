"""A copy of the checkout, in which the commands of a page of CONTRIBUTING.md are run as they stand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FENCED = re.compile(r"^ *```bash\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def commands(section: str) -> list[str]:
    """The blocks of shell commands of a section of CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (part,) = re.findall(rf"^## {section}\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for block in FENCED.findall(part)]


def copied(folder: Path) -> Path:
    """A copy of the files that git knows, with the virtual environment of this process."""
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    for file in filter(None, files):
        if (ROOT / file).is_file():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, folder / file)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def shell(copy: Path, *steps: str) -> str:
    """Runs shell commands in a copy; each must succeed. Returns their output."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(steps)],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy), "DRYDOCK_STORE": str(copy / "store")},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def lines(files: Sequence[Path]) -> int:
    """The total number of lines of some files."""
    return sum(len(file.read_text().splitlines()) for file in files)
