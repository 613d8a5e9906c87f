"""The common parts of the scripts in a bundle: they read the record, verify the files, and read the cases.

Only the standard library and numpy: both scripts contain this text; see stages/delivery/bundle.py.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stages.portable.vendor_errors import first_line

OK, USAGE, CANNOT_RUN, MISSING, FAILED, INTERRUPTED = 0, 2, 3, 4, 5, 130


class Stop(Exception):
    """Ends a script, with an exit code and a message for a person."""

    def __init__(self, code: int, says: str) -> None:
        super().__init__(says)
        self.exit_code = code


def parser(says: str) -> argparse.ArgumentParser:
    """A parser for a script's arguments; the docstring gives the description, and the text after the arguments."""
    first, *more = says.split("\n\n")
    return argparse.ArgumentParser(
        description=first,
        epilog="\n\n".join(more),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def exit_code(work: Callable[[], int], done: str, *failures: type[Exception]) -> int:
    """Runs a script's work; errors go to stderr, in words.

    Args:
        work: Returns the exit code.
        done: What the work does, as a participle, such as "checked".
        failures: Exceptions with their own exit code, besides Stop.
    """
    try:
        return work()
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as e:  # the person who runs this does not have the source
        sys.stdout.flush()  # results come before errors, wherever both streams go
        expected = isinstance(e, (Stop, *failures))
        print(e if expected else f"it cannot be {done}: {type(e).__name__}: {first_line(e)}", file=sys.stderr)
        return int(vars(e)["exit_code"]) if expected else CANNOT_RUN


def failed(wrong: Sequence[str]) -> Stop:
    """The error for results that do not agree, a sentence each."""
    return Stop(FAILED, "FAILED\n" + "\n".join(f"  {w}" for w in wrong))


class Case(NamedTuple):
    """One case of the reference: its label, inputs by name, and the original's outputs by name."""

    label: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]

    @property
    def shape(self) -> str:
        return ", ".join("x".join(map(str, v.shape)) or "scalar" for v in self.inputs.values())


def verdict(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The claim of the last check of the delivered file, with "tolerance", or with "why" it was not checked."""
    claims = [c.get("parity") or c.get("unchecked") for c in record["checks"] if c["delivered"]]
    return next((c for c in reversed(claims) if c), None)


def count(text: str) -> int:
    """An argument that is a number from 0 up."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is no number from 0 up")
    return int(text)


def read_record(folder: Path) -> dict[str, Any]:
    """The content of artifact.json. Raises Stop."""
    needed = ("model", "precision", "kind", "drydock", "sha256", "checks", "facts")
    return read_json(folder / "artifact.json", needed)


def read_json(path: Path, needed: Sequence[str] = ()) -> dict[str, Any]:
    """The content of a JSON file with at least these keys. Raises Stop."""
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if lacking := [name for name in needed if name not in document]:
            raise ValueError(f"it has no {', no '.join(lacking)}")
    except (OSError, ValueError, TypeError) as e:
        raise Stop(CANNOT_RUN, f"{path.name} cannot be read: {first_line(e)}") from e
    return document


def demand_files(folder: Path, digests: Mapping[str, str]) -> None:
    """Raises Stop where a file is missing, or has another SHA-256 than when it was delivered."""
    wrong = []
    for name, digest in digests.items():
        try:
            with (folder / name).open("rb") as f:
                actual = hashlib.sha256()
                while block := f.read(2**20):
                    actual.update(block)
        except OSError as e:
            wrong.append(f"{name} cannot be read: {e.strerror}")
            continue
        if actual.hexdigest() != digest:
            wrong.append(
                f"{name} is not what was delivered: its SHA-256 is {actual.hexdigest()}, artifact.json has {digest}"
            )
    if wrong:
        raise failed([*wrong, "copy the whole folder again"])


def read_cases(folder: Path) -> list[Case]:
    """The cases of reference.npz, whose arrays have the names LABEL/in/NAME and LABEL/out/NAME."""
    np = module("numpy")
    try:
        cases: dict[str, Case] = {}
        with np.load(folder / "reference.npz") as arrays:
            for key in arrays.files:
                label, way, name = key.split("/", 2)
                case = cases.setdefault(label, Case(label, {}, {}))
                (case.inputs if way == "in" else case.outputs)[name] = arrays[key]
    except Exception as e:  # numpy and zipfile raise anything on a damaged file
        raise Stop(CANNOT_RUN, f"reference.npz cannot be read: {first_line(e)}") from e
    if not cases:
        raise Stop(CANNOT_RUN, "reference.npz is empty")
    return list(cases.values())


def worst_of(figures: Sequence[Any]) -> str:
    """The worst of several outputs' figures, in a line."""
    top1 = min((f.top1 for f in figures if f.top1 is not None), default=None)
    errors = f"{max(f.max_rel for f in figures):.1e}  {max(f.p99_rel for f in figures):.1e}"
    return f"{errors}  {min(f.cosine for f in figures):.6f}" + ("" if top1 is None else f"  {top1:.3f}")


def latency(infer: Callable[[], object], case: Case, runs: int) -> dict[str, float]:
    """Times inferences one by one, and prints p50 and p90. Returns them, in milliseconds."""
    np = module("numpy")
    infer()
    took = []
    for _ in range(runs):
        start = time.perf_counter()
        infer()
        took.append((time.perf_counter() - start) * 1000)
    p50, p90 = np.percentile(took, [50, 90])
    print(f"latency   p50 {p50:.3g} ms, p90 {p90:.3g} ms at {case.shape}, of {runs} runs")
    return {"p50": round(float(p50), 4), "p90": round(float(p90), 4)}


def module(name: str) -> Any:
    """An installed module. Raises Stop."""
    try:
        return importlib.import_module(name)
    except ImportError as e:
        raise Stop(MISSING, f"{name} is not installed: {e}\n  python -m pip install {name}") from e
