"""Runs one stage without the runner, with the settings of its YAML."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from torch import nn

from pipeline.artifact import Artifact, Kind, carried
from pipeline.config.instantiate import find_stage
from pipeline.machine.world import ThisMachine
from pipeline.stage import Stage
from stages.formats.ignored import Ignored
from stages.interface.interface import Dim, Input
from stages.portable.comparison import Tolerance
from stages.reference.record_reference import RecordReference

CONF = Path(__file__).parents[1] / "conf"
FILES = Path(__file__).parent / "files"  # small files of other frameworks; see its README

IMAGE = {"input": Input(["batch", 3, 32, 32])}
TOKENS = {"tokens": Input(["batch", "seq", 8], fill="normal")}
VECTOR = {"input": Input(["batch", 4], fill="normal")}
BATCH = {"batch": Dim(1, 2, 8)}
NOTHING_IGNORED = Ignored([], [], [])
BATCH_SEQ = {"batch": Dim(1, 2, 8), "seq": Dim(2, 4, 16)}

# Settings that the YAML of a stage takes from a model, a target, a precision or another stage.
CHOICES = {
    "model": {
        "quantization": None,
        "preprocessing": None,
        "labels": None,
        "license": None,
        "generation": {"prompts": [1, 7, 40], "tokens": 8},
    },
    "target": {"compute": "float32", "extensions": [], "symmetric": False, "pruned": False},
    "stages": {"compile": {"deployment_target": "iOS18"}},
    "effort": "standard",
}

_RECORDED: dict[Path, Artifact] = {}


def shipped(name: str, **settings: Any) -> Any:
    """A stage with the settings of its YAML, except the given ones."""
    yaml: Any = OmegaConf.load(CONF / "stage" / f"{name}.yaml")
    stage = find_stage(yaml["_target_"])
    others = [f.name for f in dataclasses.fields(stage) if f.name not in settings]
    root = OmegaConf.create({**CHOICES, "stage": OmegaConf.masked_copy(yaml, others)})
    typed = OmegaConf.structured(stage)
    OmegaConf.set_readonly(typed, None)  # as one of a frozen dataclass is
    typed.merge_with(OmegaConf.to_container(root["stage"], resolve=True))
    defaults = {n: OmegaConf.to_object(typed[n]) if OmegaConf.is_config(typed[n]) else typed[n] for n in others}
    return stage(**defaults, **settings)


def run_stage(stage: Stage, inputs: Artifact | Mapping[str, Artifact], folder: Path) -> Artifact:
    """Runs one stage as the runner does, and asserts what the runner relies on.

    Args:
        stage: The stage.
        inputs: Port name to artifact, or only the first port's artifact.
        folder: The folder of the result; made here. Its files are read-only afterwards, as in the store.
    """
    assert stage.problems() == []
    ports = {next(iter(stage.ports())): inputs} if isinstance(inputs, Artifact) else dict(inputs)
    assert all(a.kind in stage.ports()[port] for port, a in ports.items())
    assert stage.ports().keys() - stage.optional <= ports.keys()
    before = {port: contents(a.folder) for port, a in ports.items()}
    folder.mkdir(parents=True)
    result = stage.run(ports, folder)
    assert {port: contents(a.folder) for port, a in ports.items()} == before, "a stage wrote into its input's folder"
    assert result.kind == stage.makes({port: a.kind for port, a in ports.items()})
    primary = next(iter(ports.values()), None)
    result = replace(result, facts=carried(primary.facts if primary else {}, result.facts))
    for plain in (result.facts, result.notes):
        assert json.loads(json.dumps(plain)) == plain, "facts and notes are plain JSON"
    for path in folder.rglob("*"):
        path.chmod(0o444)
    return result


def contents(folder: Path | None) -> dict[str, str]:
    """The SHA-256 of every file under a folder, by relative path."""
    files = sorted(p for p in folder.rglob("*") if p.is_file()) if folder else []
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}  # type: ignore[arg-type]


def backend(name: str) -> None:
    """Skips the test when a back end is not installed; fails it when REQUIRE names that back end."""
    if importlib.util.find_spec(name) is None:
        (pytest.fail if name in os.environ.get("REQUIRE", "").split(",") else pytest.skip)(f"{name} is not installed")


def skip_unless_bfloat16() -> None:
    """Skips the test on a CPU that OpenVINO does not compute in bfloat16 on."""
    backend("openvino")
    import openvino

    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU does not compute in bfloat16")


def world(folder: Path) -> ThisMachine:
    """The world of a plan: it hashes files, but downloads nothing."""
    return ThisMachine(folder / "facts", may_fetch=False)


def tolerance(precision: str) -> Tolerance:
    """The shipped tolerance of a precision, so that a test proves the numbers that users get."""
    return Tolerance(**OmegaConf.to_container(OmegaConf.load(CONF / "tolerance" / f"{precision}.yaml")))  # type: ignore[arg-type]


def module(net: nn.Module) -> Artifact:
    """A module as an artifact of `set_eval`."""
    return Artifact(Kind.MODULE, live=net.eval().requires_grad_(False))


def record(
    net: nn.Module | Artifact,
    folder: Path,
    *,
    inputs: Mapping[str, Input] | None = IMAGE,
    dims: Mapping[str, Dim] | None = BATCH,
    outputs: Any = None,
    call: Any = None,
    seed: int = 0,
    effort: str = "quick",
) -> Artifact:
    """The reference of a module, or of an artifact in its place."""
    model = net if isinstance(net, Artifact) else module(net)
    stage = RecordReference(
        inputs and dict(inputs), dims and dict(dims), outputs, call, None, False, None, [], seed, effort, None, 16
    )
    _RECORDED[folder] = run_stage(stage, model, folder)
    return _RECORDED[folder]


def reference_in(folder: Path) -> Artifact:
    """The reference that `capture` and `export` recorded in a folder."""
    return _RECORDED[folder / "reference"]
