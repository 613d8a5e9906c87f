"""`python -m pipeline.new NAME`: writes a project: a model, an experiment, a test and a workflow for CI."""

from __future__ import annotations

import argparse
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from pipeline import disk, errors
from pipeline.errors import ConfigError
from pipeline.printable import as_typed
from pipeline.terminal import command

NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
INPUT = re.compile(r"(?P<name>[A-Za-z_]\w*)=(?P<shape>[\w,]+)(?::(?P<dtype>\w+))?", re.ASCII)
TYPES = ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")

MODEL = """# {name}: {factory}, from its state dict. What each key takes: docs/models.md of Drydock.
#   {typed} model={name} plan=true
name: {name}
factory: {factory}
kwargs: {{}}
weights: {weights} # a .pth, .pt or .safetensors file | random
inputs: # one for each parameter of forward, in order; a name in a shape is a dynamic dimension
{inputs}
dims: # the smallest, the usual and the largest size of each
{dims}
outputs: null # [name, …] in order; null: by their places
"""
EXPERIMENT = """# @package _global_
# {name} as it is shipped. `{pin} experiment={name}` says what it comes to, for git.
defaults:
  - override /model: {name}
{target}  - override /precision: fp32
{pinned}"""
PINNED = """model:
  sha256: {sha256} # of {weights}: another file is another experiment
"""
TEST = '''"""The conversion of {name}: it agrees with the model, or this fails with what to do."""

from pipeline import convert


def test_{name}_converts_and_agrees(tmp_path):
    result = convert("{name}", experiment="{name}", output=tmp_path / "artifact")
    assert result.checks
'''
WORKFLOW = """# Converts {name} at every change, and keeps the artifact.
name: {name}
on: [push, pull_request]
jobs:
  convert:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with: {{python-version: "3.11"}}
      - run: pip install '{distribution}[{extra}]' pytest
      - run: PYTHONPATH=. pytest tests/test_{name}.py
      - run: {script} experiment={name} output=artifact
      - uses: actions/upload-artifact@v4
        with: {{name: {name}, path: artifact}}
"""


def main(say: command.Say) -> int:
    """Writes the files of a project, none of which may exist. Raises ConfigError."""
    parser = argparse.ArgumentParser(
        prog=as_typed("python -m pipeline.new"),
        description="Writes conf/model/NAME.yaml, conf/experiment/NAME.yaml, tests/test_NAME.py and "
        ".github/workflows/NAME.yml in the current folder. No file is ever replaced.",
    )
    parser.add_argument("name", metavar="NAME", help="the model's name: letters, digits, underscores")
    parser.add_argument(
        "--factory", default="", help="dotted path of a class or function that returns the torch.nn.Module"
    )
    parser.add_argument("--weights", default="random", help="the file with its state dict, or random")
    parser.add_argument(
        "--input",
        action="append",
        metavar="NAME=SHAPE[:TYPE]",
        help="for each parameter of forward, such as image=batch,3,224,224 or ids=batch,words:int64",
    )
    parser.add_argument("--target", default="", help="the format to reach")
    options = parser.parse_args()
    inputs = options.input or ["input=batch,3,224,224"]
    files = written(options.name, options.factory or f"{options.name}.Net", options.weights, inputs, options.target)
    if there := [path for path in files if Path(path).exists()]:
        raise ConfigError(f"{errors.listed(there)} is there already", command="another NAME, or another folder")
    for path, text in files.items():
        with disk.explained(f"the folder {Path.cwd()}", "another folder", Path.cwd()):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(text)
    say("\n".join(files))
    say(f"then: {as_typed('python -m pipeline')} experiment={options.name} plan=true")
    return errors.OK


def written(name: str, factory: str, weights: str, inputs: Sequence[str], target: str) -> dict[str, str]:
    """The files of a project, by their paths below its folder. Raises ConfigError."""
    if not NAME.fullmatch(name):
        raise ConfigError(f"the name is {name}", allowed="letters, digits and underscores, no digit first")
    lines, dims = [], list[str]()
    for typed in inputs:
        match = INPUT.fullmatch(typed)
        dtype = (match and match["dtype"]) or "float32"
        if not match or dtype not in TYPES:
            raise ConfigError(
                f"--input is {typed}",
                allowed=f"NAME=SHAPE or NAME=SHAPE:TYPE, the type one of {errors.listed(TYPES)}",
                command="--input image=batch,3,224,224",
            )
        shape = match["shape"].split(",")
        dims += [size for size in shape if not size.isdigit() and size not in dims]
        fill = "uniform" if dtype.startswith("float") else "{integers: [0, 2]}"
        lines.append(f"  {match['name']}: {{shape: [{', '.join(shape)}], dtype: {dtype}, fill: {fill}}}")
    ranges = [f"  {dim}: {{min: 1, opt: 2, max: 8}}" for dim in dims]
    values = {
        "name": name,
        "factory": factory,
        "weights": weights,
        "inputs": "\n".join(lines),
        "dims": "\n".join(ranges) or "  {}",
        "pinned": _pinned(weights),
        "target": f"  - override /target: {target}\n" if target else "",
        "typed": as_typed("python -m pipeline"),
        "pin": as_typed("python -m pipeline.pin"),
        "distribution": "torch-drydock",
        "script": "torch-drydock",
        "extra": "all",
    }
    return {
        f"conf/model/{name}.yaml": MODEL.format(**values),
        f"conf/experiment/{name}.yaml": EXPERIMENT.format(**values),
        f"tests/test_{name}.py": TEST.format(**values),
        f".github/workflows/{name}.yml": WORKFLOW.format(**values),
    }


def _pinned(weights: str) -> str:
    """The SHA-256 of the file of weights for the experiment, which `pin` needs; empty where there is no file yet."""
    path = Path(weights)
    if weights == "random" or not path.is_file():
        return ""
    with disk.explained(str(path), "another file", path.parent), path.open("rb") as file:
        return PINNED.format(sha256=hashlib.file_digest(file, "sha256").hexdigest(), weights=weights)


if __name__ == "__main__":
    command.run(main)
