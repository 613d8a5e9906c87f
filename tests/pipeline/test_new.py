"""`python -m pipeline.new`: a project that converts as it is written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from command_line import Shop, run_module

from pipeline import new
from pipeline.errors import ConfigError

NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.words = torch.nn.Embedding(2, 4)
        self.out = torch.nn.Linear(4, 3)

    def forward(self, ids, scale):
        return self.out(self.words(ids).mean(1)) * scale
"""
INPUTS = ("--input", "ids=batch,words:int64", "--input", "scale=batch,1")
ARGUMENTS = ("mine", "--factory", "net.Net", *INPUTS, "--target", "onnx")


def test_what_is_written_converts_and_a_second_time_nothing_is_replaced(tmp_path):
    (tmp_path / "net.py").write_text(NET)
    done = run_module("pipeline.new", ARGUMENTS, tmp_path)
    assert done.returncode == 0, done.stderr
    *files, then = done.stdout.splitlines()
    assert [(tmp_path / f).is_file() for f in files] == [True] * 4
    assert then == "then: python -m pipeline experiment=mine plan=true"
    assert yaml.safe_load((tmp_path / files[3]).read_text())["jobs"]["convert"]
    shop = Shop(tmp_path)
    ran = shop.run("experiment=mine")
    assert ran.returncode == 0, ran.stderr
    again = run_module("pipeline.new", ARGUMENTS, tmp_path)
    assert again.returncode == 2
    assert "is there already" in again.stderr


@pytest.mark.slow
def test_the_test_that_is_written_passes(tmp_path):
    (tmp_path / "net.py").write_text(NET)
    assert run_module("pipeline.new", ARGUMENTS, tmp_path).returncode == 0
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    env = {**os.environ, "PYTHONPATH": paths, "DRYDOCK_STORE": str(tmp_path / "store")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_mine.py"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "typed", "words"),
    [
        ("my-net", "x=batch,3", "letters, digits and underscores"),
        ("mine", "x", "NAME=SHAPE"),
        ("mine", "x=batch,3:float8", "the type one of"),
    ],
)
def test_what_cannot_be_written_is_told(name, typed, words):
    with pytest.raises(ConfigError) as caught:
        new.written(name, "net.Net", "random", [typed], "onnx")
    assert words in caught.value.problems[0].allowed
