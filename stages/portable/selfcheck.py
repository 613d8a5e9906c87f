"""The checks of a model on the device that it was delivered to: a format's `host.py` adds how its runtime loads one."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from stages.portable.comparison import Tolerance, compared
from stages.portable.handed_over import (
    CANNOT_RUN,
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
    read_record,
    verdict,
    worst_of,
)
from stages.portable.said import first_line

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray[Any, Any]]

COMPUTE = ("float32", "float16", "bfloat16")
RECORDED, DEFAULT = "recorded", "default"


class Running(NamedTuple):
    """A loaded model: outputs by name for inputs by name, one inference for a clock, and what the runtime says."""

    run: Callable[[Arrays], dict[str, Any]]
    prepare: Callable[[Arrays], Callable[[], object]]
    computes_in: str
    says: str


class Runtime(NamedTuple):
    """What runs one format.

    Args:
        module: What is imported, such as "onnxruntime".
        suffixes: By kind, how the name of the file ends that it opens.
        load: Loads that file, given the runtime's module, the file, the record, what the model was checked to, and the
            arguments of the command line. It raises Stop, or whatever the runtime raises.
    """

    module: str
    suffixes: Mapping[str, str]
    load: Callable[[Any, Path, Mapping[str, Any], Mapping[str, Any], argparse.Namespace], Running]


def main(runtime: Runtime, says: str, folder: Path, arguments: Sequence[str] | None = None) -> int:
    """Checks the bundle in a folder. Returns the exit code.

    Args:
        runtime: What runs the model.
        says: What `--help` shows: the docstring of the script.
        folder: Where the bundle is.
        arguments: Of the command line; None for those of this process.
    """
    asked = _asked(says, arguments)
    return exit_code(lambda: _checked(runtime, folder, asked), "checked")


def _asked(says: str, arguments: Sequence[str] | None) -> argparse.Namespace:
    asking = parser(says)
    asking.add_argument(
        "--compute",
        choices=(RECORDED, DEFAULT, *COMPUTE),
        default=RECORDED,
        help="what the runtime is asked to compute in; default: it is asked for nothing",
    )
    asking.add_argument("--device", help="by the runtime's own name; CPU, or what a blob is for, unless named")
    asking.add_argument("--runs", type=count, default=50, help="inferences to time; 0 for none")
    asking.add_argument("--threads", type=count, default=0, help="to compute with; 0 for the runtime's own choice")
    asking.add_argument("--extension", type=Path, help="a library with operations that the runtime does not have")
    return asking.parse_args(arguments)


def _checked(runtime: Runtime, folder: Path, asked: argparse.Namespace) -> int:
    record = read_record(folder)
    claim = verdict(record)
    if claim is None or record["kind"] not in runtime.suffixes:
        raise Stop(CANNOT_RUN, "artifact.json does not say what this model was held to: deliver it again")
    claim = {"compute": record["precision"]["compute"], "properties": {}, **claim}
    print(f"{record['model']}  {record['precision']['name']}, {record['kind']}, made by drydock {record['drydock']}")
    if record["facts"].get("weights", {}).get("trained") is False:
        print("weights   UNTRAINED: its answers mean nothing")
    demand_files(folder, record["sha256"])
    print(f"files     {len(record['sha256'])}, as they were delivered")
    cases = read_cases(folder)
    running = _loaded(runtime, folder, record, claim, asked)
    print(f"runtime   {running.says}, computes in {running.computes_in}")
    wrong = [*_of_precision(running.computes_in, claim, asked.compute), *_compared(running, cases, claim)]
    if asked.runs:
        case = next((c for c in cases if c.label == "example"), cases[0])
        latency(running.prepare(case.inputs), case, asked.runs)
    if wrong:
        raise failed(wrong)
    if "why" in claim:
        print(f"NOT CHECKED against {claim['against']}: {claim['why']}. It runs at {len(cases)} shapes")
    else:
        print(f"passed    it agrees with {claim['against']} at {len(cases)} shapes")
    return OK


def _loaded(
    runtime: Runtime, folder: Path, record: Mapping[str, Any], claim: Mapping[str, Any], asked: argparse.Namespace
) -> Running:
    imported = module(runtime.module)
    (path,) = (folder / n for n in record["files"] if n.endswith(runtime.suffixes[record["kind"]]))
    try:
        return runtime.load(imported, path, record, claim, asked)
    except Stop:
        raise
    except Exception as e:  # a runtime raises anything
        raise Stop(CANNOT_RUN, f"{imported.__name__} {imported.__version__} cannot load it: {first_line(e)}") from e


def _compared(running: Running, cases: Sequence[Case], claim: Mapping[str, Any]) -> list[str]:
    """Prints the worst figures at each shape. Returns what is wrong, a sentence each."""
    wrong = []
    width = max(len(f"{c.label}  {c.shape}") for c in cases)
    print(f"{'':{width}}  max_rel  p99_rel  cosine    top1")
    for case in cases:
        try:
            found = running.run(case.inputs)
        except Exception as e:  # a runtime raises anything
            raise Stop(CANNOT_RUN, f"it cannot be run at {case.shape}: {first_line(e)}") from e
        if "why" in claim:
            told, problems = "runs", _not_finite(found)
        else:
            figures, problems = compared(found, case.outputs, Tolerance(**claim["tolerance"]))
            told = worst_of(list(figures.values())) if figures else "differs" if problems else "equal"
        print(f"{case.label}  {case.shape}".ljust(width), told, sep="  ")
        wrong += [f"{case.label} ({case.shape}): {p}" for p in problems]
    return wrong


def _not_finite(found: Arrays) -> list[str]:
    np = module("numpy")
    return [f"output '{n}' holds NaN or infinities" for n, v in found.items() if not np.isfinite(v).all()]


def _of_precision(found: str, claim: Mapping[str, Any], asked: str) -> list[str]:
    """What is wrong with the type that the runtime says it computes in: not what was asked for, or not as checked."""
    if asked in COMPUTE and found != asked:
        return [f"asked to compute in {asked}, the runtime computes in {found}"]
    checked = claim["compute"]
    return [] if found == checked else [f"the runtime computes in {found}; it was checked computing in {checked}"]
