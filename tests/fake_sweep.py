"""A sweep's folder as its jobs would leave it, without the work: with every kind of end, and every measure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import CheckFailed
from pipeline.running.outcome import Outcome, Result
from pipeline.runs.manifest import RunManifest

BASE = ("model=small", "store=/a store")
COMMAND = ("pipeline/__main__.py", "-m", *BASE, "opset=18,20", "precision=fp32,fp16,int8")
AXES = {"opset": ["18", "20"], "precision": ["fp32", "fp16", "int8"]}


def outcome(name: str, how: str, seconds: float, key: str, digest: str | None, **notes: Any) -> Outcome:
    """A stage that left 1000 bytes."""
    return Outcome(name, how, key, digest, 1000 if digest else 0, seconds, None, notes)


def parity(*errors: float) -> dict[str, Any]:
    """The notes of a check."""
    cases = [{"shape": f"{i + 1}x3", "max_rel": error} for i, error in enumerate(errors)]
    return {"parity": {"against": "the PyTorch model", "cases": cases}, "says": f"worst {max(errors)}"}


def benchmark(
    p50: float, *, by: str = "openvino", spread: float = 0.02, tail: float = 1.2, eager: float = 0.02
) -> dict[str, Any]:
    """The notes of a benchmark; the p99 is `tail` times the p50, and `eager` is the spread of eager PyTorch."""

    def figures(p50: float, spread: float, tail: float) -> dict[str, Any]:
        times = {"p50_ms": p50, "p90_ms": 1.1 * p50, "p99_ms": tail * p50, "to_first_answer_ms": 1e3}
        return {**times, "items_per_second": 1e3 / p50, "peak_bytes": 1 << 27, "spread": spread, "noisy": spread > 0.1}

    contenders = {by: figures(p50, spread, tail), "eager": figures(24.0, eager, 1.2)}
    case = {"case": {"label": "example", "shapes": "input 2x3", "items": 2}, "threads": 2, "rounds": 5}
    return {"benchmark": {"artifact": by, "contenders": contenders, "not_measured": {}, **case, "table": ["as told"]}}


def evaluation(value: float, drop: float) -> dict[str, Any]:
    """The notes of an evaluation."""
    return {"evaluation": {"metric": "top1", "value": value, "of_the_model": value + drop, "drop": drop}}


@dataclass
class FakeSweep:
    """A sweep that is being written into a folder."""

    folder: Path
    jobs: list[dict[str, Any]] = field(default_factory=list)

    def job(self, *swept: str, base: Sequence[str] = BASE, target: str = "openvino") -> RunManifest:
        """A job that has begun."""
        overrides = [*base, *swept]
        self.skip(*swept, base=base)
        config = {"seed": 0, "model": {"name": "small"}, "target": {"name": target}}
        git = {"commit": "c0ffee", "branch": "main", "dirty": False}
        path = self.folder / self.jobs[-1]["folder"] / "run.json"
        manifest = RunManifest(path, overrides, {"model": "small", "target": target})
        manifest.note_configuration(config, git)
        return manifest

    def skip(self, *swept: str, base: Sequence[str] = BASE) -> None:
        """A job that never begins."""
        number = len(self.jobs)
        self.jobs.append({"number": number, "folder": f"{number}-small", "overrides": [*base, *swept]})

    def listed(self, axes: Mapping[str, Sequence[str]] = AXES, command: Sequence[str] = COMMAND) -> Path:
        """Writes jobs.json and returns the folder."""
        content = {
            "schema": 1,
            "started": "2026-01-02T03:04:05+00:00",
            "command": command,
            "axes": axes,
            "jobs": self.jobs,
        }
        self.folder.mkdir(exist_ok=True)
        (self.folder / "jobs.json").write_text(json.dumps(content))
        return self.folder


def finished(
    export: str, compiled: str, key: str, *errors: float, size: int, seconds: float = 2.0, **notes: Any
) -> Result:
    """A job that captured or found the capture, exported or found the export, compiled, checked and delivered."""
    return Result(
        [
            outcome("load", "built", 0.5, "k-load", None),
            outcome("capture", "hit" if export == "hit" else "built", 4.0, "k-capture", "d-capture"),
            outcome("export", export, 3.0, f"k-export-{key}", f"d-export-{key}"),
            outcome("compile", "built", seconds, f"k-{compiled}", f"d-{compiled}"),
            outcome("check", "built", 0.25, f"k-check-{compiled}", f"d-{compiled}", **parity(*errors)),
            outcome("benchmark", "built", 1.0, f"k-bench-{compiled}", f"d-{compiled}", **notes),
            Outcome("save", "delivered", f"k-save-{compiled}", f"d-{compiled}", size, 0.25),
        ],
        Path("artifact/small.xml"),
    )


def write(folder: Path) -> Path:
    """Six jobs over two axes: three end well, one fails its check, one is killed, one never begins."""
    sweep = FakeSweep(folder)
    fp32 = finished("built", "a", "18", 1e-7, 2e-7, size=4000, seconds=2.0, **benchmark(8.0), **evaluation(0.9, 0.0))
    sweep.job("opset=18", "precision=fp32").finish(fp32)
    fp16 = finished("hit", "b", "18", 3e-4, size=2000, **benchmark(5.0, spread=0.31), **evaluation(0.898, 0.002))
    sweep.job("opset=18", "precision=fp16").finish(fp16)
    failed = sweep.job("opset=18", "precision=int8")
    failed.stage(outcome("export", "hit", 3.0, "k-export-18", "d-export-18"))
    failed.fail(CheckFailed("check: <b>wrong</b> by 0.5", allowed="0.1", command="precision=fp16"), 5)
    slow = finished("built", "c", "20", 1e-7, size=10000, **benchmark(10.5, eager=1.9), **evaluation(0.9, 0.0))
    sweep.job("opset=20", "precision=fp32").finish(slow)
    sweep.job("opset=20", "precision=fp16")
    sweep.skip("opset=20", "precision=int8")
    return sweep.listed()
