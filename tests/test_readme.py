"""README.md: its five steps for a model of one's own, typed as they stand there."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

README = Path(__file__).parent.parent / "README.md"
NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.out = torch.nn.Linear(4, 2)

    def forward(self, image, gain):
        return self.out(self.conv(image).mean((2, 3))) * gain
"""


def steps() -> list[list[str]]:
    """The commands of the section, in order, without the installation that made this environment."""
    (section,) = re.findall(r"^## Your own model, in five steps\n(.*?)^Or from Python", README.read_text(), re.M | re.S)
    return [shlex.split(command) for command in re.findall(r"`(torch-drydock [^`]+)`", section)]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.out = nn.Linear(4, 2)


@pytest.mark.slow  # each command by itself: test_cli, test_reproduce, pipeline/test_new
def test_the_five_steps_lead_to_a_checked_artifact_that_can_be_made_again(tmp_path: Path) -> None:
    (tmp_path / "my_pkg").mkdir()
    (tmp_path / "my_pkg" / "net.py").write_text(NET)
    torch.save(Net().state_dict(), tmp_path / "net.pth")
    script = str(Path(sys.executable).with_name("torch-drydock"))
    env = {**os.environ, "DRYDOCK_STORE": str(tmp_path / "store")}
    all_steps, paths = steps(), []
    assert [words[1].partition("=")[0] for words in all_steps] == ["new", "model", "model", "pin", "reproduce"]
    for words in all_steps:
        more = ["--input", "gain=batch,1"] if words[1] == "new" else []  # "an --input for each parameter of forward"
        done = subprocess.run([script, *words[1:], *more], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        paths.append(done)
    artifact = Path(paths[2].stdout.strip())
    run = json.loads((artifact.parents[1] / "run.json").read_text())
    (check,) = [s for s in run["stages"] if s["name"] == "check_simplify"]
    assert artifact.is_file()
    assert check["notes"]["parity"]["against"] == "the PyTorch model"
    assert "identical" in paths[4].stdout
