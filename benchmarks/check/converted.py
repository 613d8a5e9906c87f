"""What a subject becomes: the stages of a real run, up to its last check, each run as the configuration has it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.check.models.subjects import Subject
from pipeline.artifact import Artifact, Kind, carried
from pipeline.stage import Stage

REFERENCE = "reference"
# The last check before what is delivered. Simplification is a stage that may change the graph or leave it.
JUDGES = {"onnx": "check_export", "openvino": "check_compile", "coreml": "check_compile"}


@dataclass(frozen=True)
class Converted:
    """A right artifact, and what it is held to.

    Args:
        module: The eager module.
        recorder: The stage that recorded the reference.
        reference: What it recorded.
        artifact: What the last check is asked about.
        check: That check, with the settings that users get.
        seconds: What each stage took, by its name in the graph.
    """

    module: Any
    recorder: Stage
    reference: Artifact
    artifact: Artifact
    check: Stage
    seconds: dict[str, float]


def make(subject: Subject, target: str, folder: Path) -> Converted:
    """Converts a subject. The check itself is not run here: it is what is measured."""
    from pipeline.machine.world import ThisMachine
    from pipeline.planning import graph

    stages, needs = _configured(subject, target)
    artifacts: dict[str, Artifact] = {}
    seconds: dict[str, float] = {}
    for node in graph.build(stages, needs):
        ports = {port: artifacts[name] for port, name in node.inputs.items()}
        stage = node.stage.settle(ThisMachine(folder / "facts", may_fetch=False))
        if node.name == JUDGES[target]:
            module = next(a.live for a in artifacts.values() if a.kind == Kind.MODULE)
            return Converted(module, stages[REFERENCE], artifacts[REFERENCE], ports["artifact"], stage, seconds)
        began = time.perf_counter()
        artifacts[node.name] = run(stage, ports, folder / node.name)
        seconds[node.name] = time.perf_counter() - began
    raise LookupError(f"{subject.name} to {target} has no stage '{JUDGES[target]}'")


def run(stage: Stage, ports: dict[str, Artifact], folder: Path) -> Artifact:
    """One stage, with what the runner adds to its result."""
    folder.mkdir(parents=True)
    artifact = stage.run(ports, folder)
    primary = next(iter(ports.values()), None)
    return replace(artifact, facts=carried(primary.facts if primary else {}, artifact.facts))


def recorded_again(converted: Converted, seed: int, folder: Path) -> Artifact:
    """The reference by another seed."""
    stage = dataclasses.replace(converted.recorder, seed=seed)  # type: ignore[call-arg]
    return run(stage, {"model": Artifact(Kind.MODULE, live=converted.module)}, folder)


def _configured(subject: Subject, target: str) -> tuple[dict[str, Stage], dict[str, Any]]:
    """The stages of a run by name, and what each needs, as `python -m pipeline` composes them."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf, open_dict

    from pipeline.config import schema
    from pipeline.config.compose import CONF
    from pipeline.config.instantiate import build_stage

    schema.register(CONF)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", list(_overrides(subject, target)))
    with open_dict(config):
        config.model.inputs = {n: dict(i) for n, i in subject.inputs.items()}
        sizes = (("min", "opt", "max"), subject.dims.items())
        config.model.dims = {n: dict(zip(sizes[0], d, strict=True)) for n, d in sizes[1]}
    settings: Any = OmegaConf.to_container(config.stages, resolve=True)
    settings = {name: values for name, values in settings.items() if values is not None}
    stages = {name: build_stage(f"stages.{name}", values) for name, values in settings.items()}
    return stages, {name: values["needs"] or () for name, values in settings.items()}


def _overrides(subject: Subject, target: str) -> Iterator[str]:
    yield from ("model=custom", f"model.factory={subject.factory}", "model.weights=random", f"target={target}")
    yield from (f"model.name={subject.name}", f"capture={'trace' if target == 'coreml' else subject.capture}")
    if target != "coreml":
        yield from ("~stages.simplify", "~stages.check_simplify")


@contextmanager
def quiet(path: Path) -> Iterator[None]:
    """What vendors print goes to a file, by C++ too."""
    import os
    import sys

    descriptors = [os.dup(n) for n in (1, 2)]
    sys.stdout.flush()
    with path.open("a") as log:
        for n in (1, 2):
            os.dup2(log.fileno(), n)
        try:
            yield
        finally:
            sys.stdout.flush()
            for n, old in zip((1, 2), descriptors, strict=True):
                os.dup2(old, n)
                os.close(old)
