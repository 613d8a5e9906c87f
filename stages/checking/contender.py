"""One contender of a benchmark, in its own process, so that load time, first inference and peak memory are its own.

`python -m stages.checking.contender JOB.json` answers each line of JSON on stdin with one on stdout, whatever vendors
print; contest.py is the other side.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

from pipeline import formats
from pipeline.artifact import Artifact, Kind
from pipeline.errors import DrydockError
from stages.formats import session
from stages.portable.vendor_errors import first_line

STATUS = Path("/proc/self/status")
MODULE, SCRIPT = "module.pickle", "module.pt"


class Job(TypedDict):
    """The job of a contender: a runtime by its module's name, an artifact, its inputs and its settings."""

    runtime: str
    kind: str
    folder: str  # the artifact's; a module's holds MODULE or SCRIPT
    facts: dict[str, Any]
    compute: str
    threads: int
    properties: dict[str, str]
    extensions: list[str]
    inputs: list[str]  # names, in the order in which they are passed
    arrays: str  # the file that has them


def main(job: Job) -> None:
    """Answers requests until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what vendors print, also from C++, must not mix with the answers

    def answer(reply: dict[str, Any]) -> None:
        answers.write(json.dumps(reply) + "\n")
        answers.flush()

    try:
        infer, ready = opened(job)
    except Exception as e:  # a vendor that refuses is a finding; the caller decides what it means
        first = e.problems[0].what if isinstance(e, DrydockError) else f"{type(e).__name__}: {first_line(e)}"
        answer({"refused": first})
        return
    answer(ready)
    for line in sys.stdin:
        request = json.loads(line)
        answer({"ms": block(infer, request["seconds"], request["warmup"]), "peak_bytes": peak_bytes()})


def opened(job: Job) -> tuple[Callable[[], object], dict[str, Any]]:
    """One inference ready to be repeated, and the times to prepare it, in milliseconds."""
    began = time.perf_counter()
    formats.block()
    for module in session.requires(job["runtime"]):
        importlib.import_module(module)
    imported = time.perf_counter()
    arrays = _arrays(job)
    artifact = Artifact(Kind(job["kind"]), Path(job["folder"]), facts=job["facts"], live=_module(Path(job["folder"])))
    running = session.open_session(
        artifact,
        job["compute"],
        threads=job["threads"],
        properties=job["properties"],
        extensions=job["extensions"],
        by=job["runtime"],
    )
    infer = running.prepare(arrays)
    loaded = time.perf_counter()
    infer()
    answered = time.perf_counter()
    return infer, {
        "import_ms": (imported - began) * 1e3,
        "load_ms": (loaded - imported) * 1e3,
        "first_ms": (answered - loaded) * 1e3,
        "to_first_answer_ms": (answered - began) * 1e3,
        "computes_in": running.computes_in,
        "properties": dict(running.properties),
    }


def block(infer: Callable[[], object], seconds: float, warmup: int) -> list[float]:
    """Milliseconds of each inference within some seconds, at least one, after a warm-up that is not counted."""
    for _ in range(warmup):
        infer()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end or not times:
        infer()
        times.append((time.perf_counter() - began) * 1e3)
    return times


def peak_bytes() -> int:
    """The largest resident memory of this program so far. On Linux, getrusage also counts the parent's memory."""
    if STATUS.exists():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _arrays(job: Job) -> dict[str, Any]:
    from safetensors.numpy import load_file

    arrays = load_file(job["arrays"])
    return {name: arrays[name] for name in job["inputs"]}


def _module(folder: Path) -> Any:
    """The module that benchmark.py just wrote, which makes loading it like code safe; None for a file."""
    if not (folder / MODULE).exists() and not (folder / SCRIPT).exists():
        return None
    import torch

    if (folder / SCRIPT).exists():
        return torch.jit.load(folder / SCRIPT)  # type: ignore[no-untyped-call]
    return torch.load(folder / MODULE, weights_only=False)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
