"""`python -m pipeline.doctor`: whether a configuration can run on this machine, and what to type where it cannot.

It imports no library itself: each is imported in a process of its own, and the outcome is reported.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pipeline import errors, units
from pipeline.config import compose, remotes
from pipeline.config.composed import graph_of, store_folders
from pipeline.errors import BackendMissing, DrydockError, Problem
from pipeline.machine import backends, gpu, processor
from pipeline.machine.backends import Backend, State
from pipeline.machine.installed import how_to_install, own_version, required_python
from pipeline.planning import plan
from pipeline.planning.graph import Node
from pipeline.printable import as_typed
from pipeline.runs import manifest
from pipeline.store import Store, Trust
from pipeline.store.trial import trial
from pipeline.terminal import command

# The instructions that compute in each type without a conversion to float32; see pipeline/machine/processor.py.
NATIVE = {
    "float16": ("avx512_fp16", "amx_fp16", "asimdhp"),
    "bfloat16": ("avx512_bf16", "amx_bf16", "bf16", "svebf16"),
    "int8": ("avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm"),
}
# The modules that the core imports for every graph; the last one only on a terminal.
ITSELF = ("filelock", "hydra", "omegaconf", "packaging", "rich")
# Environment variables that change results or speed, and that are easily forgotten.
DECISIVE = """
ATEN_CPU_CAPABILITY CUDA_VISIBLE_DEVICES MKL_NUM_THREADS NVIDIA_TF32_OVERRIDE OMP_NUM_THREADS
ONEDNN_DEFAULT_FPMATH_MODE ONEDNN_MAX_CPU_ISA TORCH_ALLOW_TF32_CUBLAS_OVERRIDE
"""
# File systems that other machines write to as well.
SHARED = ("9p", "afs", "ceph", "cifs", "fuse.sshfs", "gpfs", "lustre", "nfs", "nfs4", "smb3")


@dataclass(frozen=True)
class Report:
    """The report on a machine and a configuration.

    Args:
        machine: Facts of this machine that change results, by name.
        store: Where it is, and facts of its file system, by name.
        backends: Every library that is needed or known.
        problems: Why the configuration cannot run here.
        exit_code: The exit code of these problems.
    """

    machine: Mapping[str, Any]
    store: Mapping[str, Any]
    backends: Sequence[Backend]
    problems: Sequence[Problem]
    exit_code: int


def main(say: command.Say, arguments: Sequence[str] | None = None) -> int:
    """Examines, prints the report, and returns the exit code. Raises ConfigError for a configuration that is wrong."""
    options = _parser().parse_intermixed_args(arguments)
    composed = compose.compose(options.overrides)
    nodes = graph_of(composed.config)
    needed = _needed(nodes)
    if "mlflow" in str(composed.choices.get("hydra/callbacks")):
        needed["mlflow"] = ["hydra/callbacks"]
    trust, folders = Trust.of(composed.config["trust"]), store_folders(composed.config)
    remote = remotes.address_of(composed.config)
    needed |= {module: ["remote"] for module in remotes.modules(remote)}
    report = examine(folders, needed, plan.without_gpu(nodes))
    if remote is not None:
        serves = remotes.serves(composed.config, folders[0], trust)
        report = replace(report, store={**report.store, "remote": f"{remote}: {serves}"})
    say(json.dumps(_plain(report), indent=1) if options.json else _text(report))
    return report.exit_code


def examine(store: Sequence[Path], needed: Mapping[str, Sequence[str]], devices: Sequence[Problem] = ()) -> Report:
    """Examines everything; a problem does not stop it.

    Args:
        store: The folder for finished stages, created if it is not there, as a run does; then the other folders
            where they are looked for.
        needed: The modules that the configuration needs, each with what runs on it.
        devices: The devices that it needs and that are not there.
    """
    facts, refusal = _store(*store)
    libraries = backends.examine(needed)
    lacking = [*(b.problem for b in libraries if b.problem), *devices]
    if not (python := required_python()).admits(platform.python_version()):
        lacking.insert(
            0, Problem(f"Python is {platform.python_version()}", python.versions, "python3.11 -m venv .venv")
        )
    code = errors.USAGE if refusal else errors.BACKEND_MISSING if lacking else errors.OK
    return Report(_machine(), facts, libraries, [*refusal, *lacking], code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=as_typed("python -m pipeline.doctor"),
        description="Says whether a configuration can run on this machine, and what to type where it cannot.",
        epilog="Exit codes: 0 it can, 2 usage, configuration or store, 4 a library is missing, too old or broken.",
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="the configuration, as for the pipeline")
    parser.add_argument("--json", action="store_true", help="the report as data")
    return parser


def _needed(nodes: Sequence[Node]) -> dict[str, list[str]]:
    """The modules that a run of a graph needs, each with what needs it. Raises ConfigError."""
    with contextlib.suppress(BackendMissing):  # reported later, with all the others
        plan.check(nodes)
    needed = {module: [f"stages.{name}" for name in names] for module, names in plan.needed(nodes).items()}
    return {**needed, **{module: ["Drydock itself"] for module in ITSELF}}


def _machine() -> dict[str, Any]:
    instructions = processor.describe()["instructions"].split()
    native = {dtype: sorted({*sets} & {*instructions}) or "not native" for dtype, sets in NATIVE.items()}
    return {
        "drydock": own_version(),
        "python": f"{platform.python_version()}, {sys.executable}",
        **manifest.machine(),
        "usable cores": processor.cores(),
        **(native if instructions != ["unknown"] else {}),
        "memory": units.size(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
        "gpu": _gpus(),
        "environment": [f"{name}={os.environ[name]}" for name in DECISIVE.split() if name in os.environ],
    }


def _gpus() -> list[str] | str:
    """One line for each GPU of NVIDIA's: name, driver, compute capability, memory."""
    lines, why = gpu.ask()
    return lines or f"none: {why}"


def _store(root: Path, *lower: Path) -> tuple[dict[str, Any], Sequence[Problem]]:
    """Facts of the store, and the reasons why it cannot be used."""
    refusal: Sequence[Problem] = ()
    lacks: list[str] = []
    try:
        store = Store(root, *lower)
        lacks = trial(store)
        if short := store.shortage():
            refusal = [Problem(f"store={root}: its disk is nearly full", command=short)]
    except DrydockError as e:
        refusal = e.problems
    there = next(p for p in (root, *root.parents) if p.is_dir())
    kind = _file_system(there)
    facts = {
        "folder": str(root),
        **({"looks into": ", ".join(map(str, lower))} if lower else {}),
        "works": "no"
        if refusal
        else f"it has {'; '.join(lacks)}"
        if lacks
        else "written, linked and locked by two processes",
        "file system": kind,
        "free": units.size(shutil.disk_usage(there).free),
    }
    if kind in SHARED:
        facts["shared"] = "with other machines, perhaps; locks were tried between processes of this one"
    return facts, refusal


def _file_system(folder: Path) -> str:
    """The type of the file system that a folder is on, by Linux's name; "unknown" elsewhere."""
    try:
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    real = folder.resolve()
    holding = [(len(place), kind) for _, place, kind, *_ in mounts if real.is_relative_to(place.replace("\\040", " "))]
    return max(holding, key=lambda mount: mount[0])[1] if holding else "unknown"


def _plain(report: Report) -> dict[str, Any]:
    """The report as plain JSON."""
    return {
        "machine": report.machine,
        "store": report.store,
        "backends": [{**asdict(b), "wanted": b.wanted and str(b.wanted)} for b in report.backends],
        "to do": [asdict(p) for p in report.problems],
        "exit code": report.exit_code,
    }


def _text(report: Report) -> str:
    """The report for a person: aligned columns under four headings."""
    rows = [(b.module, b.version or "-", "needed" if b.needed_by else "optional", _says(b)) for b in report.backends]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    libraries = []
    for backend, row in zip(report.backends, rows, strict=True):
        libraries.append("  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[3]]))
        libraries += [f"  {line}" for line in _aligned(backend.facts)]
    to_do = [line for p in report.problems for line in str(p).splitlines()]
    sections = {
        "this machine": _aligned(report.machine),
        "store": _aligned(report.store),
        "backends": libraries,
        "to do": to_do or ["nothing: this configuration can run here"],
    }
    return "\n\n".join("\n".join([title, *(f"  {line}" for line in lines)]) for title, lines in sections.items())


def _says(backend: Backend) -> str:
    if backend.state is State.MISSING:
        return f"not installed: {how_to_install(backend.module)}"
    if backend.state is State.UNFIT and backend.wanted:
        return f"will not do: {backend.wanted.versions} is wanted: pip install '{backend.wanted}'"
    return str(backend.state)


def _aligned(facts: Mapping[str, Any]) -> Iterable[str]:
    width = max(map(len, facts), default=0)
    return [f"{name.ljust(width)}  {_shown(value)}" for name, value in facts.items()]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (", ".join(map(str, value)) or "none set") if isinstance(value, list) else str(value)


if __name__ == "__main__":
    command.run(main)
