"""The ways of `python -m benchmarks.coverage`: the command as a user types it, and the plain converters beside it."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.coverage.models import FOLDER, Subject, save
from benchmarks.process import silent

OURS = {
    "onnx": ("target=onnx",),
    "openvino": ("target=openvino",),
    "openvino direct": ("target=openvino", "route=direct"),
}
# How far the plain converters' answers may be off, of the largest number: what ours are held to as a ceiling.
CEILING = 1e-3


def run(subject: Subject, folder: Path) -> None:
    """Leaves a run.json for each way in a folder of its name."""
    import torch

    torch.set_num_threads(1)
    with silent(folder):
        overrides = prepared(subject, folder)
        for way, target in OURS.items():
            command(overrides, target, folder / way, folder / "store")
        try:
            module, interface, cases = _recorded(overrides, folder, "onnx")
        except Exception as e:  # what no question can be put to, nobody can check
            for way in PLAIN:
                say(folder / way, f"{type(e).__name__}: {e}")
            return
        for way, converted in PLAIN.items():
            (folder / way).mkdir()
            say(folder / way, _tried(converted, module, interface, cases, folder / way))


def prepared(subject: Subject, folder: Path) -> list[str]:
    """What to type for a model: of random weights, in a folder that is made here where the command is given one."""
    overrides = [o.replace(FOLDER, str(folder / "model")) for o in subject.overrides]
    if overrides == list(subject.overrides):
        return [*overrides, "model.weights=random"]
    save(subject.name, folder / "model")
    return overrides


def command(overrides: list[str], target: tuple[str, ...], folder: Path, store: Path) -> None:
    """Runs the command as a user types it, in this process, and leaves its run.json in a folder."""
    from pipeline import cli

    sys.argv = ["drydock", *overrides, *target, f"store={store}", f"hydra.run.dir={folder}", "runner.isolate=false"]
    with contextlib.suppress(SystemExit):
        cli.main()
    shutil.rmtree(folder / "artifact", ignore_errors=True)


def _tried(converted: Convert, module: Any, interface: Any, cases: Any, folder: Path) -> str:
    """Why the converter's result does not serve, in words; else nothing."""
    try:
        ask = converted(module, interface, cases[0].inputs, folder)
        return next(filter(None, (_wrong(case, ask(case.inputs)) for case in cases)), "")
    except Exception as e:  # whatever it says is the result
        return f"{type(e).__name__}: {' '.join(str(e).split())[:300]}"


def _wrong(case: Any, answers: Any) -> str:
    import numpy as np

    for name, answer in zip(case.outputs, answers, strict=True):
        expected = case.outputs[name]
        if answer.shape != expected.shape:
            return f"{case.label}: output '{name}' has shape {answer.shape} instead of {expected.shape}"
        largest = float(np.abs(np.nan_to_num(expected)).max(initial=1e-6))
        off = float(np.abs(np.nan_to_num(answer).astype("f8") - np.nan_to_num(expected)).max(initial=0)) / largest
        if off > CEILING:
            return f"{case.label}: output '{name}' is off by {off:.0e}"
    return ""


def say(folder: Path, wrong: str) -> None:
    """Leaves a run.json of a way that has none of its own.

    Args:
        folder: Where.
        wrong: Why the way does not serve; empty where it does.
    """
    folder.mkdir(exist_ok=True)
    outcome: Mapping[str, Any] = (
        {"status": "failed", "problems": [{"what": wrong}]} if wrong else {"status": "ok", "stages": []}
    )
    (folder / "run.json").write_text(json.dumps(outcome))


def _recorded(overrides: list[str], folder: Path, way: str) -> tuple[Any, Any, list[Any]]:
    """The module in evaluation mode, and of the reference that a way recorded the interface and the cases at sizes."""
    from stages.interface import call
    from stages.interface.interface import Interface
    from stages.reference import cases

    reference = stored(folder, way, "reference")
    interface = Interface.read(reference)
    return call.bind(module(overrides, folder).live, interface), interface, list(cases.at_sizes(reference))


def stored(folder: Path, way: str, stage: str) -> Any:
    """What a stage of a way left in the store. Raises StopIteration where it left nothing there."""
    from pipeline.store import Store

    stages = json.loads((folder / way / "run.json").read_text())["stages"]
    return Store(folder / "store").open(next(s["digest"] for s in stages if s["name"] == stage and s["digest"]))


def module(overrides: list[str], folder: Path) -> Any:
    """The module in evaluation mode, as the stages before the reference leave it."""
    from pipeline.config.instantiate import build_stage
    from pipeline.machine.world import ThisMachine

    settings, world = composed([*overrides, "target=onnx"]), ThisMachine(folder / "facts", may_fetch=False)
    load, set_eval = (build_stage(f"stages.{name}", settings[name]).settle(world) for name in ("load", "eval"))
    return set_eval.run({"module": load.run({}, folder)}, folder)


def composed(overrides: list[str]) -> Any:
    """The settings of each stage."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from pipeline.config import schema
    from pipeline.config.compose import CONF

    schema.register(CONF)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return OmegaConf.to_container(compose("config", overrides).stages, resolve=True)


def _onnx(module: Any, interface: Any, example: Any, folder: Path) -> Any:
    """Source: https://docs.pytorch.org/docs/stable/onnx_export.html"""
    import onnxruntime
    import torch

    from stages.onnx.exporting import optimizer

    sizes = {n: torch.export.Dim(n, min=d.min, max=d.max) for n, d in interface.dims.items()}
    with optimizer.operators_first():  # the same graph in less time
        torch.onnx.export(
            module,
            tuple(torch.from_numpy(v) for v in example.values()),
            folder / "model.onnx",
            dynamo=True,
            verbose=False,
            input_names=list(interface.inputs),
            dynamic_shapes=[{axis: sizes[n] for axis, n in s.axes.items()} for s in interface.inputs.values()],
        )
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    names = {i.name for i in session.get_inputs()}
    return lambda inputs: session.run(None, {n: v for n, v in inputs.items() if n in names})


def _openvino(module: Any, interface: Any, example: Any, folder: Path) -> Any:
    """Source: https://docs.openvino.ai/2026/openvino-workflow/model-preparation/convert-model-pytorch.html"""
    import openvino
    import torch

    shapes = [[-1 if isinstance(d, str) else d for d in s.shape] for s in interface.inputs.values()]
    tensors = tuple(torch.from_numpy(v) for v in example.values())
    converted = openvino.convert_model(module, example_input=tensors, input=[openvino.PartialShape(s) for s in shapes])
    ready = openvino.compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda inputs: list(ready(list(inputs.values())).values())


Convert = Callable[[Any, Any, Any, Path], Any]
PLAIN: Mapping[str, Convert] = {"torch.onnx.export alone": _onnx, "openvino.convert_model alone": _openvino}
WAYS = (*OURS, *PLAIN)
