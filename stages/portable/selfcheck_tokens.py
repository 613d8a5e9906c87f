"""Checks a language model on the device that it was delivered to; a format's `generation/host.py` loads the model."""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stages.portable.generating import agreement, read_tokens
from stages.portable.handed_over import (
    CANNOT_RUN,
    OK,
    Stop,
    count,
    demand_files,
    exit_code,
    failed,
    parser,
    read_record,
)
from stages.portable.vendor_errors import first_line

# The file with the results beside the script, which `inspect` reads: see pipeline/inspect.py.
RESULT, TOKENS, SCHEMA = "selfcheck.json", "tokens.json", 1


class Runtime(NamedTuple):
    """The runtime of one format.

    Args:
        module: The package that it needs besides numpy, by its name for pip.
        kind: Its kind in artifact.json.
        load: Loads the folder. Its arguments are the folder, the decoder's facts, the claim of the check, and the
            arguments of the command line; for its result see stages/generation/folders.py. It raises Stop, or whatever
            the runtime raises.
    """

    module: str
    kind: str
    load: Callable[[Path, Mapping[str, Any], Mapping[str, Any], argparse.Namespace], Any]


def main(runtime: Runtime, says: str, folder: Path, arguments: Sequence[str] | None = None) -> int:
    """Checks the bundle in a folder. Returns the exit code.

    Args:
        runtime: The runtime of the model.
        says: The text of `--help`: the docstring of the script.
        folder: The folder of the bundle.
        arguments: The arguments of the command line; None for those of this process.
    """
    parsing = parser(says)
    parsing.add_argument("--ours", action="store_true", help="use this script's own loop instead of the runtime's")
    parsing.add_argument("--threads", type=count, default=0, help="to compute with; 0 for the runtime's own choice")
    options = parsing.parse_args(arguments)
    return exit_code(lambda: _checked(runtime, folder, options), "checked")


def claim_of(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The claim of the last check of the delivered folder. Raises Stop where there was no check."""
    claims = [c["tokens"] for c in record["checks"] if c["delivered"] and "tokens" in c]
    if not claims:
        raise Stop(CANNOT_RUN, "artifact.json has no check that this script can repeat: deliver the model again")
    last: Mapping[str, Any] = claims[-1]
    return last


def _checked(runtime: Runtime, folder: Path, arguments: argparse.Namespace) -> int:
    record = read_record(folder)
    claim = claim_of(record)
    if record["kind"] != runtime.kind:
        raise Stop(CANNOT_RUN, f"this script checks {runtime.kind}, and artifact.json is of {record['kind']}")
    print(f"{record['model']}  {record['precision']['name']}, {record['kind']}, made by drydock {record['drydock']}")
    if record["facts"].get("weights", {}).get("trained") is False:
        print("weights   UNTRAINED: its texts mean nothing")
    demand_files(folder, record["sha256"])
    print(f"files     {len(record['sha256'])}, as they were delivered")
    try:
        tokens = read_tokens(folder / TOKENS)
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise Stop(CANNOT_RUN, f"{TOKENS} cannot be read: {first_line(e)}") from e
    decoder, loop = record["facts"]["generation"], None
    running = runtime.load(folder, decoder, claim, arguments)
    print(f"runtime   {running.says}" + (f": {running.by_ours}" if running.by_ours else ""))
    equal = unclear = 0
    wrong: list[str] = []
    began = time.perf_counter()
    for batch in tokens.batches:
        runs = running
        if why := running.unfit(batch.prompts, tokens.new):
            loop = loop or runtime.load(folder, decoder, claim, argparse.Namespace(**{**vars(arguments), "ours": True}))
            runs = loop
            print(f"{batch.label:<24} by {loop.says}: {why}")
        result = agreement(runs(batch.prompts, tokens.new), batch, claim["least"])
        equal, unclear = equal + result.equal, unclear + result.open
        wrong += result.wrong
        print(f"{batch.label:<24} {result.equal} tokens equal" + (f", {result.open} open" if result.open else ""))
    seconds = time.perf_counter() - began
    _write(folder, record, running.says, wrong)
    if wrong:
        raise failed(wrong)
    print(f"passed    {equal} tokens are those of {claim['against']}, in {seconds:.1f} s; {unclear} too close to call")
    return OK


def _write(folder: Path, record: Mapping[str, Any], runtime: str, wrong: Sequence[str]) -> None:
    """Writes the results beside the model; prints why where that is impossible."""
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    about = {"schema": SCHEMA, "digest": record.get("digest"), "when": when, "system": platform.platform()}
    agrees = {"agrees": not wrong, "worst": 0.0 if not wrong else None, "wrong": list(wrong)}
    result = {"device": "CPU", "runtime": runtime, "latency": None, **agrees}
    try:
        (folder / RESULT).write_text(json.dumps({**about, "results": [result]}, indent=1) + "\n", encoding="utf-8")
        print(f"written   {RESULT}")
    except OSError as e:
        print(f"{RESULT} cannot be written: {e.strerror}")
