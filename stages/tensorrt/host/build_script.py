"""Builds the engine of this bundle on the host that it is for, and checks it against the original's outputs.

    python build.py                        with TensorRT's Python API
    python build.py --with trtexec         with trtexec; the Python API still checks the engine
    python build.py --runs 500 --timing-cache ~/timing

It needs Python 3.11 or later, TensorRT, numpy, and torch built for CUDA or cuda-python. It reads manifest.json,
artifact.json, reference.npz and the graph beside itself, and writes the engine and its portability card there.
Exit codes: 0 the engine is there and agrees, 2 wrong usage, 3 it cannot be built or run, 4 TensorRT, a GPU or numpy is
not there or of another version, 5 a file is not what was handed over, or the engine does not agree, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stages.portable.comparison import Tolerance, compared
from stages.portable.handed_over import (
    CANNOT_RUN,
    MISSING,
    OK,
    Case,
    Stop,
    count,
    demand_files,
    exit_code,
    failed,
    latency,
    module,
    parser,
    read_cases,
    read_json,
    read_record,
    verdict,
    worst_of,
)
from stages.tensorrt.host.build import Plan, build
from stages.tensorrt.host.card import Failure, Host, portability, tensorrt_module
from stages.tensorrt.host.cuda import Cuda, open_cuda
from stages.tensorrt.host.run import Engine
from stages.tensorrt.host.timing import replaced
from stages.tensorrt.host.trtexec import build_by_trtexec


def main(arguments: Sequence[str] | None = None, folder: Path = Path(__file__).parent) -> int:
    """Builds the bundle in a folder. Returns the exit code."""
    options = _options(arguments)
    return exit_code(lambda: _built(folder, options), "built", Failure)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parsing = parser(str(__doc__))
    parsing.add_argument("--with", dest="way", choices=("python", "trtexec"), default="python", help="what builds it")
    parsing.add_argument("--trtexec", default="trtexec", help="where that is; found on PATH unless named")
    parsing.add_argument("--runs", type=count, default=200, help="inferences to time; 0 for none")
    parsing.add_argument("--timing-cache", help="a folder that keeps what builds measure, for later ones")
    return parsing.parse_args(arguments)


def _built(folder: Path, arguments: argparse.Namespace) -> int:
    record = read_record(folder)
    print(f"{record['model']}  {record['precision']['name']}, made by drydock {record['drydock']}")
    if record["facts"].get("weights", {}).get("trained") is False:
        print("weights   UNTRAINED: its answers mean nothing")
    demand_files(folder, record["sha256"])
    print(f"files     {len(record['sha256'])}, as they were delivered")
    manifest, claim = read_json(folder / "manifest.json"), verdict(record)
    if claim is None or "tolerance" not in claim:
        raise Stop(CANNOT_RUN, "artifact.json has no check that this script can repeat: make the bundle again")
    cases = read_cases(folder)
    _verify_version(tensorrt_module().__version__, manifest["tensorrt"])
    cuda = open_cuda()
    print(f"host      {Host.here(cuda.name, cuda.compute_capability)}")
    graph = folder / manifest["graph"]
    path = graph.with_suffix(".engine")
    plan = replace(Plan(**manifest["plan"]), timing_cache=arguments.timing_cache)
    card = _engine(graph, plan, path, cuda, arguments)
    print(f"engine    {path.name}, {card['engine']['bytes']} bytes: {portability(card)}")
    try:
        card |= {"checked": _checked(path, cuda, cases, claim, plan, arguments.runs)}
    except BaseException:  # an interrupt too
        path.unlink(missing_ok=True)  # nobody must take a wrong engine for a right one
        path.with_suffix(".json").unlink(missing_ok=True)
        raise
    replaced(path.with_suffix(".json"), (json.dumps(card, indent=1) + "\n").encode())
    print(f"card      {path.with_suffix('.json').name}")
    print(f"passed    it agrees with {claim['against']} at {len(cases)} shapes")
    return OK


def _verify_version(version: str, supported: Mapping[str, Any]) -> None:
    """Raises Stop for a version of TensorRT that the graph was not made for."""
    numbers = [int(n) for n in version.split(".")[:2]]
    if str(numbers[0]) not in supported["releases"] or numbers < [int(n) for n in supported["from"].split(".")]:
        raise Stop(
            MISSING,
            f"this host has TensorRT {version}\n  allowed: {supported['from']} and later, of "
            f"{', '.join(f'{r}.x' for r in supported['releases'])}\n"
            f"  try:     python -m pip install 'tensorrt-cu13=={supported['releases'][-1]}.*'",
        )


def _engine(graph: Path, plan: Plan, path: Path, cuda: Cuda, arguments: argparse.Namespace) -> dict[str, Any]:
    def say(line: str) -> None:
        print(f"          {line}")

    if arguments.way == "trtexec":
        return build_by_trtexec(arguments.trtexec, graph, plan, path, cuda, say)
    return build(graph, plan, path, cuda, say)


def _checked(
    path: Path, cuda: Cuda, cases: Sequence[Case], claim: Mapping[str, Any], plan: Plan, runs: int
) -> dict[str, Any]:
    """Checks the engine's types and outputs, and times it. Returns the figures. Raises Stop, Failure."""
    engine = Engine(path, cuda, lambda line: print(f"          {line}"))
    print(f"layers    {', '.join(f'{dtype} {n}' for dtype, n in engine.layers.items()) or 'not told'}")
    # An engine that reports no layers was built from a network that had the types: see build.read.
    required = plan.types if engine.layers else ()
    wrong = [f"no layer of the engine has {t}, which was asked for" for t in required if t not in engine.layers]
    worst: dict[str, float] = {}
    width = max(len(f"{c.label}  {c.shape}") for c in cases)
    print(f"{'':{width}}  max_rel  p99_rel  cosine    top1")
    for case in cases:
        figures, problems = compared(engine(case.inputs), case.outputs, Tolerance(**claim["tolerance"]))
        summary = worst_of(list(figures.values())) if figures else "differs" if problems else "equal"
        print(f"{case.label}  {case.shape}".ljust(width), summary, sep="  ")
        wrong += [f"{case.label} ({case.shape}): {p}" for p in problems]
        worst[case.shape] = max((f.max_rel for f in figures.values()), default=0.0)
    if wrong:
        raise failed(wrong)
    timed = {}
    for case in cases if runs else ():
        timed[case.shape] = latency(engine.prepare(case.inputs), case, runs)
    return {"against": claim["against"], "worst": worst, "latency_ms": timed, "numpy": module("numpy").__version__}


if __name__ == "__main__":
    sys.exit(main())
