"""Checks a model on the device that it was delivered to; a format's `host.py` adds how its runtime loads the model."""

from __future__ import annotations

import argparse
import datetime
import json
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from stages.portable.vendor_errors import first_line

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray[Any, Any]]

COMPUTE = ("float32", "float16", "bfloat16")
RECORDED, DEFAULT = "recorded", "default"
# The file with the results beside the script, which `inspect` reads: see pipeline/inspect.py.
RESULT, SCHEMA = "selfcheck.json", 1


class Running(NamedTuple):
    """A loaded model: outputs by name for inputs by name, one inference to time, and the runtime's description."""

    run: Callable[[Arrays], dict[str, Any]]
    prepare: Callable[[Arrays], Callable[[], object]]
    computes_in: str
    says: str


class Runtime(NamedTuple):
    """The runtime of one format.

    Args:
        module: The module to import, such as "onnxruntime".
        suffixes: Kind to the suffix of the file to open.
        load: Loads that file. Its arguments are the runtime's module, the file, the record, the claim of the check, and
            the arguments of the command line. It raises Stop, or whatever the runtime raises.
        devices: The devices to try in turn where none is requested, by the runtime's own names; empty for its default.
    """

    module: str
    suffixes: Mapping[str, str]
    load: Callable[[Any, Path, Mapping[str, Any], Mapping[str, Any], argparse.Namespace], Running]
    devices: tuple[str, ...] = ()


def main(runtime: Runtime, says: str, folder: Path, arguments: Sequence[str] | None = None) -> int:
    """Checks the bundle in a folder. Returns the exit code.

    Args:
        runtime: The runtime of the model.
        says: The text of `--help`: the docstring of the script.
        folder: The folder of the bundle.
        arguments: The arguments of the command line; None for those of this process.
    """
    options = _options(says, arguments)
    return exit_code(lambda: _checked(runtime, folder, options), "checked")


def _options(says: str, arguments: Sequence[str] | None) -> argparse.Namespace:
    parsing = parser(says)
    parsing.add_argument(
        "--compute",
        choices=(RECORDED, DEFAULT, *COMPUTE),
        default=RECORDED,
        help="the type to compute in; default: the runtime's own choice",
    )
    parsing.add_argument("--device", help="by the runtime's own name; unless named, the one that it is for, or each")
    parsing.add_argument("--runs", type=count, default=50, help="inferences to time; 0 for none")
    parsing.add_argument("--threads", type=count, default=0, help="to compute with; 0 for the runtime's own choice")
    parsing.add_argument("--extension", type=Path, help="a library with operations that the runtime does not have")
    return parsing.parse_args(arguments)


def _checked(runtime: Runtime, folder: Path, arguments: argparse.Namespace) -> int:
    record = read_record(folder)
    claim = verdict(record)
    if claim is None or record["kind"] not in runtime.suffixes:
        raise Stop(CANNOT_RUN, "artifact.json has no check that this script can repeat: deliver the model again")
    claim = {"compute": record["precision"]["compute"], "properties": {}, **claim}
    print(f"{record['model']}  {record['precision']['name']}, {record['kind']}, made by drydock {record['drydock']}")
    if record["facts"].get("weights", {}).get("trained") is False:
        print("weights   UNTRAINED: its answers mean nothing")
    demand_files(folder, record["sha256"])
    print(f"files     {len(record['sha256'])}, as they were delivered")
    cases = read_cases(folder)
    devices = [arguments.device] if arguments.device or not runtime.devices else runtime.devices
    results: list[dict[str, Any]] = []
    stopped: list[Stop] = []
    for device in devices:
        one = argparse.Namespace(**{**vars(arguments), "device": device})
        results.append({"device": device, "runtime": "", "agrees": False, "worst": None, "latency": None, "wrong": []})
        try:
            _on(_loaded(runtime, folder, record, claim, one), cases, claim, one, results[-1])
        except Stop as e:
            results[-1]["wrong"] = results[-1]["wrong"] or [str(e)]
            stopped.append(e)
            if len(devices) > 1:
                print(f"{device}: {e}")
    _write(folder, record, results)
    if stopped:
        raise max(stopped, key=lambda e: e.exit_code)
    if "why" in claim:
        print(f"NOT CHECKED against {claim['against']}: {claim['why']}. It runs at {len(cases)} shapes")
    else:
        where = f", on {', '.join(map(str, devices))}" if len(devices) > 1 else ""
        print(f"passed    it agrees with {claim['against']} at {len(cases)} shapes{where}")
    return OK


def _on(
    running: Running,
    cases: Sequence[Case],
    claim: Mapping[str, Any],
    arguments: argparse.Namespace,
    result: dict[str, Any],
) -> None:
    """Compares on one device, and writes the outcome into `result`. Raises Stop."""
    result["runtime"] = running.says
    print(f"runtime   {running.says}, computes in {running.computes_in}")
    errors, problems = _compared(running, cases, claim)
    wrong = [*_of_precision(running.computes_in, claim, arguments.compute), *problems]
    if arguments.runs:
        case = next((c for c in cases if c.label == "example"), cases[0])
        result["latency"] = latency(running.prepare(case.inputs), case, arguments.runs)
    result |= {"agrees": not wrong and "why" not in claim, "worst": max(errors, default=None), "wrong": wrong}
    if wrong:
        raise failed(wrong)


def _write(folder: Path, record: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> None:
    """Writes the results beside the model; prints why where that is impossible."""
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    about = {"schema": SCHEMA, "digest": record.get("digest"), "when": when, "system": platform.platform()}
    try:
        (folder / RESULT).write_text(json.dumps({**about, "results": results}, indent=1) + "\n", encoding="utf-8")
        print(f"written   {RESULT}")
    except OSError as e:
        print(f"{RESULT} cannot be written: {e.strerror}")


def _loaded(
    runtime: Runtime, folder: Path, record: Mapping[str, Any], claim: Mapping[str, Any], arguments: argparse.Namespace
) -> Running:
    imported = module(runtime.module)
    (name,) = {n for n in _tops(record["files"]) if n.endswith(runtime.suffixes[record["kind"]])}
    path = folder / name
    try:
        return runtime.load(imported, path, record, claim, arguments)
    except Stop:
        raise
    except Exception as e:  # a runtime raises anything
        raise Stop(CANNOT_RUN, f"{imported.__name__} {imported.__version__} cannot load it: {first_line(e)}") from e


def _tops(files: Sequence[str]) -> Iterator[str]:
    """The names in the folder itself: a model may be a folder of files."""
    return (name.partition("/")[0] for name in files)


def _compared(running: Running, cases: Sequence[Case], claim: Mapping[str, Any]) -> tuple[list[float], list[str]]:
    """Prints the worst figures at each shape. Returns the largest errors, and the problems, a sentence each."""
    wrong: list[str] = []
    worst: list[float] = []
    width = max(len(f"{c.label}  {c.shape}") for c in cases)
    print(f"{'':{width}}  max_rel  p99_rel  cosine    top1")
    for case in cases:
        try:
            outputs = running.run(case.inputs)
        except Exception as e:  # a runtime raises anything
            raise Stop(CANNOT_RUN, f"it cannot be run at {case.shape}: {first_line(e)}") from e
        if "why" in claim:
            summary, problems = "runs", _not_finite(outputs)
        else:
            figures, problems = compared(outputs, case.outputs, Tolerance(**claim["tolerance"]))
            summary = worst_of(list(figures.values())) if figures else "differs" if problems else "equal"
            worst += [float(f.max_rel) for f in figures.values()]
        print(f"{case.label}  {case.shape}".ljust(width), summary, sep="  ")
        wrong += [f"{case.label} ({case.shape}): {p}" for p in problems]
    return worst, wrong


def _not_finite(outputs: Arrays) -> list[str]:
    np = module("numpy")
    return [f"output '{n}' holds NaN or infinities" for n, v in outputs.items() if not np.isfinite(v).all()]


def _of_precision(computes_in: str, claim: Mapping[str, Any], requested: str) -> list[str]:
    """The problem of the type that the runtime computes in: it is not the requested one, or not the checked one."""
    if requested in COMPUTE and computes_in != requested:
        return [f"asked to compute in {requested}, the runtime computes in {computes_in}"]
    checked = claim["compute"]
    return (
        []
        if computes_in == checked
        else [f"the runtime computes in {computes_in}; it was checked computing in {checked}"]
    )
