"""The check of a language model on the device that it was delivered to: a format's `generation/host.py` loads it."""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stages.portable.generating import agreement, read_asked
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
from stages.portable.said import first_line

# What is written beside the script of what was found, for `inspect` to read: see pipeline/inspect.py.
RESULT, TOKENS, SCHEMA = "selfcheck.json", "tokens.json", 1


class Runtime(NamedTuple):
    """What runs one format.

    Args:
        module: What it takes beside numpy, by its name to pip.
        kind: What artifact.json calls it.
        load: Loads the folder, given what the decoder is, what it was checked to, and the arguments of the command
            line; see stages/generation/folders.py for what it gives. It raises Stop, or whatever the runtime raises.
    """

    module: str
    kind: str
    load: Callable[[Path, Mapping[str, Any], Mapping[str, Any], argparse.Namespace], Any]


def main(runtime: Runtime, says: str, folder: Path, arguments: Sequence[str] | None = None) -> int:
    """Checks the bundle in a folder. Returns the exit code.

    Args:
        runtime: What runs the model.
        says: What `--help` shows: the docstring of the script.
        folder: Where the bundle is.
        arguments: Of the command line; None for those of this process.
    """
    asking = parser(says)
    asking.add_argument("--ours", action="store_true", help="by the loop of this script, and not the runtime's own")
    asking.add_argument("--threads", type=count, default=0, help="to compute with; 0 for the runtime's own choice")
    given = asking.parse_args(arguments)
    return exit_code(lambda: _checked(runtime, folder, given), "checked")


def held_to(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the delivered folder was held to: the claim of its last check. Raises Stop where none looked at it."""
    claims = [c["tokens"] for c in record["checks"] if c["delivered"] and "tokens" in c]
    if not claims:
        raise Stop(CANNOT_RUN, "artifact.json does not say what this model was held to: deliver it again")
    last: Mapping[str, Any] = claims[-1]
    return last


def _checked(runtime: Runtime, folder: Path, given: argparse.Namespace) -> int:
    record = read_record(folder)
    claim = held_to(record)
    if record["kind"] != runtime.kind:
        raise Stop(CANNOT_RUN, f"this script checks {runtime.kind}, and artifact.json is of {record['kind']}")
    print(f"{record['model']}  {record['precision']['name']}, {record['kind']}, made by drydock {record['drydock']}")
    if record["facts"].get("weights", {}).get("trained") is False:
        print("weights   UNTRAINED: its texts mean nothing")
    demand_files(folder, record["sha256"])
    print(f"files     {len(record['sha256'])}, as they were delivered")
    try:
        asked = read_asked(folder / TOKENS)
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise Stop(CANNOT_RUN, f"{TOKENS} cannot be read: {first_line(e)}") from e
    told, loop = record["facts"]["generation"], None
    running = runtime.load(folder, told, claim, given)
    print(f"runtime   {running.says}" + (f": {running.by_ours}" if running.by_ours else ""))
    equal = unclear = 0
    wrong: list[str] = []
    began = time.perf_counter()
    for batch in asked.batches:
        runs = running
        if why := running.unfit(batch.prompts, asked.new):
            loop = loop or runtime.load(folder, told, claim, argparse.Namespace(**{**vars(given), "ours": True}))
            runs = loop
            print(f"{batch.label:<24} by {loop.says}: {why}")
        found = agreement(runs(batch.prompts, asked.new), batch, claim["least"])
        equal, unclear = equal + found.equal, unclear + found.open
        wrong += found.wrong
        print(f"{batch.label:<24} {found.equal} tokens equal" + (f", {found.open} open" if found.open else ""))
    seconds = time.perf_counter() - began
    _write(folder, record, running.says, wrong)
    if wrong:
        raise failed(wrong)
    print(f"passed    {equal} tokens are those of {claim['against']}, in {seconds:.1f} s; {unclear} too close to call")
    return OK


def _write(folder: Path, record: Mapping[str, Any], runtime: str, wrong: Sequence[str]) -> None:
    """Leaves what was found beside the model; where nothing can be written it says so."""
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    about = {"schema": SCHEMA, "digest": record.get("digest"), "when": when, "system": platform.platform()}
    agrees = {"agrees": not wrong, "worst": 0.0 if not wrong else None, "wrong": list(wrong)}
    result = {"device": "CPU", "runtime": runtime, "latency": None, **agrees}
    try:
        (folder / RESULT).write_text(json.dumps({**about, "results": [result]}, indent=1) + "\n", encoding="utf-8")
        print(f"written   {RESULT}")
    except OSError as e:
        print(f"{RESULT} cannot be written: {e.strerror}")
