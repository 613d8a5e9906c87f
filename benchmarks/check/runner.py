"""Runs the workers, one for each core, until all is judged or the time is up. What is done is never done again."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from benchmarks.check.models.subjects import Subject
from benchmarks.check.results import Unit

ROOT = Path(__file__).resolve().parents[2]
SILENCE_SECONDS = 240  # without a line, a worker hangs at a mutant
DECIDES = ("stages", "conf", "benchmarks/check")  # whose code decides the verdicts
TELLS = ("benchmarks/check/telling", "benchmarks/check/__main__.py")  # but not this
LIBRARIES = ("torch", "onnx", "onnxscript", "onnxruntime", "openvino", "coremltools")  # and whose versions


@dataclass(frozen=True)
class Plan:
    """How much is done.

    Args:
        mutants: At most so many, by target.
        seeds: Of references that the right artifacts are checked against.
        minutes: After which no more is done.
    """

    mutants: dict[str, int]
    seeds: int
    minutes: float


WHOLE = Plan({"onnx": 160, "openvino": 80, "coreml": 70}, 4, 87)
QUICK = Plan({"onnx": 24, "openvino": 11, "coreml": 10}, 1, 8.5)


@dataclass
class _Slot:
    """A core, and what works there."""

    core: int
    subject: Subject | None = None
    process: subprocess.Popen[bytes] | None = None
    lines: int = 0
    since: float = field(default_factory=time.monotonic)


def run(subjects: Sequence[Subject], plan: Plan, folder: Path) -> None:
    """Judges what is left, in as many processes as there are cores."""
    fresh_if_changed(folder)
    deadline = time.monotonic() + 60 * plan.minutes
    waiting = [s for s in subjects if not _finished(s, folder)]
    slots = [_Slot(core) for core in _cores()]
    try:
        while time.monotonic() < deadline and (waiting or any(s.process for s in slots)):
            for slot in slots:
                _tend(slot, waiting, plan, folder)
            time.sleep(0.5)
    finally:  # Ctrl-C, too
        for slot in slots:
            _leave(slot, folder)


def _tend(slot: _Slot, waiting: list[Subject], plan: Plan, folder: Path) -> None:
    """Sees whether what works there is done, and starts the next."""
    if slot.process is None and waiting:
        _start(slot, waiting.pop(0), plan, folder)
    elif slot.process is not None and slot.subject is not None and _is_over(slot, folder):
        if not _finished(slot.subject, folder):  # its process ended at a mutant: on behind that one
            waiting.insert(0, slot.subject)
        slot.process = None


def _leave(slot: _Slot, folder: Path) -> None:
    if slot.process is not None and slot.subject is not None:
        slot.process.kill()
        slot.process.wait()
        for unit in units([slot.subject], folder):
            unit.leave()


def fresh_if_changed(folder: Path) -> None:
    """Throws away what other code found out."""
    if folder.exists() and not is_current(folder):
        print(f"the code has changed since: what {folder} has is thrown away", flush=True)
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "code").write_text(_digest())


def is_current(folder: Path) -> bool:
    """Whether what a folder keeps was found out by the code as it is."""
    digest_file = folder / "code"
    return digest_file.exists() and digest_file.read_text() == _digest()


def units(subjects: Sequence[Subject], folder: Path) -> list[Unit]:
    return [Unit.read(s.name, target, folder) for s in subjects for target in s.targets]


def _start(slot: _Slot, subject: Subject, plan: Plan, folder: Path) -> None:
    limits = [f"{target}={most}" for target, most in plan.mutants.items()]
    command = [
        sys.executable,
        "-m",
        "benchmarks.check.worker",
        subject.name,
        str(folder),
        *limits,
        f"seeds={plan.seeds}",
    ]
    print(f"{subject.name} …", flush=True)
    slot.subject, slot.lines, slot.since = subject, _lines(subject, folder), time.monotonic()
    slot.process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: _pin(slot.core),
    )


def _cores() -> list[int]:
    """Those that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def _pin(core: int) -> None:
    """To one core, with the threads of runtimes; where the system has no such thing, they share."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


def _is_over(slot: _Slot, folder: Path) -> bool:
    assert slot.process is not None
    assert slot.subject is not None
    if (ended := slot.process.poll()) is not None:
        over = [u for u in units([slot.subject], folder) if u.judged or u.broken]
        line = ", ".join(f"{u.target} {len(u.judged)} of {u.planned}{' ' + u.broken if u.broken else ''}" for u in over)
        print(f"{slot.subject.name}: {line}" + (f"; its process ended with {ended}" if ended else ""), flush=True)
        if ended and _lines(slot.subject, folder) == slot.lines:
            raise RuntimeError(f"the worker of {slot.subject.name} ended with {ended} before it did anything")
        return True
    if (lines := _lines(slot.subject, folder)) != slot.lines:
        slot.lines, slot.since = lines, time.monotonic()
    elif time.monotonic() - slot.since > SILENCE_SECONDS:
        slot.process.kill()
        slot.process.wait()
        slot.lines = -1  # what it began is written down
        return True
    return False


def _finished(subject: Subject, folder: Path) -> bool:
    return all(unit.finished for unit in units([subject], folder))


def _lines(subject: Subject, folder: Path) -> int:
    files = (folder / f"{subject.name}-{target}.jsonl" for target in subject.targets)
    return sum(file.stat().st_size for file in files if file.exists())


def _digest() -> str:
    sha256 = hashlib.sha256(" ".join(f"{name} {metadata.version(name)}" for name in LIBRARIES).encode())
    for room in DECIDES:
        for file in sorted((ROOT / room).rglob("*")):
            name = str(file.relative_to(ROOT))
            if file.suffix in (".py", ".yaml") and not name.startswith(TELLS):
                sha256.update(name.encode() + file.read_bytes())
    return sha256.hexdigest()
