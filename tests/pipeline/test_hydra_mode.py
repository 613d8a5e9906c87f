"""pipeline/hydra_mode.py."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

COUNTED = """
import sys
from hydra._internal.hydra import Hydra
from pipeline import cli
compose, calls = Hydra.compose_config, []
def counted(*args, **kwargs):
    calls.append(1)
    return compose(*args, **kwargs)
Hydra.compose_config = counted
code = cli.main()
print("composed", len(calls), "code", code, file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("args", "composed", "jobs"),
    [
        (["model.weights=random"], 1, 1),
        (["-m", "opset=18,20"], 1, 2),
        (["experiment=mine"], 2, 2),
        (["hydra.mode=MULTIRUN", "opset=18,20"], 2, 2),
    ],
)
def test_the_configuration_is_composed_no_more_often_than_needed(tmp_path, args, composed, jobs):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    sweep = "hydra: {mode: MULTIRUN, sweeper: {params: {opset: '18,20'}}}"
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{sweep}\n")
    done = subprocess.run(
        [sys.executable, "-c", COUNTED, *args, "plan=true", "store=store"],
        cwd=tmp_path,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"composed {composed} code 0" in done.stderr
    assert sum(line.startswith("check_compile") for line in done.stdout.splitlines()) == jobs
