"""The experiments that ship come out as they are pinned: what a team's CI would run on its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXPERIMENTS = sorted(p.stem for p in (ROOT / "conf" / "experiment").glob("*.yaml"))


@pytest.mark.slow  # of a smaller model in test_reproduce, and of what a release before made in test_older_records
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_shipped_experiment_is_made_again_byte_for_byte(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.reproduce", f"experiment={name}"],
        cwd=tmp_path,
        env={**os.environ, "DRYDOCK_STORE": str(tmp_path / "store")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (
        f"{done.stdout}{done.stderr}\nWhere this is meant: python -m pipeline.pin experiment={name}"
    )
