"""The ways of benchmarks/coverage/coreml.py: the command as a user types it, and coremltools alone beside it."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.coverage import ways
from benchmarks.coverage.models import Subject
from benchmarks.process import silent

OURS, ALONE = "coreml", "coremltools alone"
WAYS = (OURS, ALONE)
CAPTURES = ("trace", "export")


def run(subject: Subject, folder: Path) -> None:
    """Leaves a run.json for each way in a folder of its name."""
    import torch

    torch.set_num_threads(1)
    with silent(folder):
        overrides = ways.prepared(subject, folder)
        ways.command(overrides, ("target=coreml",), folder / OURS, folder / "store")
        wrong: list[str] = []
        for capture in CAPTURES:
            try:
                converted_alone(overrides, capture, folder / capture)
                wrong = []
                break
            except Exception as e:  # whatever it says is the result
                wrong.append(f"{capture}: {type(e).__name__}: {' '.join(str(e).split())[:300]}")
        ways.say(folder / ALONE, "; ".join(wrong))


def converted_alone(overrides: list[str], capture: str, folder: Path) -> None:
    """Converts one of our captures, as the guide has it; nothing checks what it makes. Raises what coremltools raises.

    Source: https://apple.github.io/coremltools/docs-guides/source/convert-pytorch-workflow.html
    """
    import coremltools as ct
    import numpy as np

    from stages.capture import programs
    from stages.interface.interface import Interface

    folder.mkdir()
    source = captured(overrides, capture, folder)
    program = programs.load(source)
    program = program.run_decompositions({}) if capture == "export" else program
    interface = Interface.read(source)
    ranges = {n: ct.RangeDim(d.min, d.max, d.opt) for n, d in interface.dims.items()}
    inputs = [
        ct.TensorType(name, [ranges.get(d, d) for d in spec.shape], np.dtype(spec.dtype).type)
        for name, spec in interface.inputs.items()
    ]
    ct.convert(program, inputs=inputs, minimum_deployment_target=ct.target.iOS16, skip_model_load=True)


def captured(overrides: list[str], capture: str, folder: Path) -> Any:
    """The captured program of a model: of our own run where that captured it in this way, else for its reference.

    Args:
        overrides: What is typed for the model.
        capture: trace or export.
        folder: The folder of the way, beside that of our run and the store.
    """
    from pipeline.config.instantiate import build_stage
    from pipeline.machine.world import ThisMachine

    with contextlib.suppress(StopIteration):
        ours = ways.stored(folder.parent, OURS, "capture")
        if ours.facts.get("capture") == capture:
            return ours
    settings = ways.composed([*overrides, "target=onnx", f"capture={capture}"])["capture"]
    stage = build_stage("stages.capture", settings).settle(ThisMachine(folder / "facts", may_fetch=False))
    inputs = {
        "module": ways.module(overrides, folder.parent),
        "reference": ways.stored(folder.parent, OURS, "reference"),
    }
    artifact = stage.run(inputs, folder)
    return replace(artifact, facts={**inputs["module"].facts, **artifact.facts})
