"""What must hold after a fault: what is delivered, what is stored, what is said, and what lies about."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.store.files import HIDDEN, records, tree_digest

Files = Mapping[str, bytes]
ENTRIES = "actions/*/*.json"
KEY_LOCK = re.compile(r"[0-9a-f]{64}\.lock")
CODES = (0, 2, 3)  # well; a place that cannot be written; a stage that failed, or the disk


def delivered(output: Path) -> Files | None:
    """What lies in an output folder; None where there is none."""
    if not output.exists():
        return None
    return {p.relative_to(output).as_posix(): p.read_bytes() for p in output.rglob("*") if p.is_file()}


def output_is(output: Path, allowed: Collection[Files | None]) -> list[str]:
    """That a delivery is one of those that may be there, byte for byte."""
    contents = delivered(output)
    if contents in allowed:
        return []
    return [f"{output.name} is neither absent nor whole: {sorted(contents) if contents is not None else 'absent'}"]


def entries(store: Path) -> dict[str, str]:
    """By stage and name, the content that each action entry leads to, or its key for one in memory."""
    by_name = {}
    for path in store.glob(ENTRIES):
        if not path.name.startswith("."):
            by_name[f"{path.parent.name}/{path.name}"] = json.loads(path.read_text())["digest"]
    return by_name


def nothing_lost(store: Path, before: Mapping[str, str], damaged: Collection[str] = ()) -> list[str]:
    """That every entry of before is there, and that every entry leads to content that is whole."""
    try:
        now = entries(store)
    except ValueError as e:
        return [f"an entry is torn: {e}"]
    lost = [f"the entry {name} is lost" for name in before if now.get(name) != before[name]]
    for name, digest in now.items():
        if name.partition("/")[2].partition(".")[0] != digest and digest not in damaged:
            lost += _content(store, name, digest)
    return lost


def _content(store: Path, name: str, digest: str) -> list[str]:
    folders = [p for p in store.glob(f"objects/{digest[:2]}/{digest}*") if p.is_dir()]
    if not folders:
        return [f"the entry {name} leads to nothing"]
    wrong = [p for p in folders if tree_digest(records(p, shared=None)) != digest]
    return [f"the entry {name} leads to content that is not what its name says" for _ in wrong]


def in_words(outcome: Mapping[str, Any] | None, home: Path, names: Collection[str]) -> list[str]:
    """That a run ended well or in words of ours, with a place and a way on."""
    if outcome is None:
        return ["it said nothing"]
    text = outcome["told"]
    if outcome["code"] not in CODES:
        return [f"exit code {outcome['code']}: {text[-300:]}"]
    if outcome["code"] == 0:
        return []
    wrong = []
    if not any(
        place in text
        for place in (
            str(home),
            "store=",
            "output=",
            "target=",
            *(f"{n}: " for n in names),
            *(f"{n} failed" for n in names),
        )
    ):
        wrong.append(f"the message names no place: {text}")
    if "try:" not in text:
        wrong.append(f"the message says no way on: {text}")
    return wrong


def litter(home: Path, expected: Collection[str], *, quarantine: bool = False) -> list[str]:
    """What lies about in a job's folder, beside what is known to be there, and in its store."""
    strange = [p for p in home.iterdir() if p.name not in expected]
    strange += [
        p for p in home.rglob(".*") if HIDDEN.fullmatch(p.name.removesuffix(".old")) or p.name.startswith(".drydock-")
    ]
    for store in home.glob("store*"):
        strange += [p for folder in ("staging", "marks") for p in (store / folder).glob("*")]
        strange += [p for p in (store / "locks").glob("*") if not KEY_LOCK.fullmatch(p.name)]
        strange += [p for p in store.glob("objects/*/*") if p.suffix != ".json" and not Path(f"{p}.json").exists()]
        strange += [p for p in store.glob("objects/*/*.json") if not p.with_suffix("").exists()]
        strange += [] if quarantine else (store / "quarantine").glob("*")
    return [f"litter: {p.relative_to(home)}" for p in sorted(set(strange))]


def not_again(before: Mapping[str, str], outcome: Mapping[str, Any], damaged: Collection[str] = ()) -> list[str]:
    """That what had an entry, and has files, was not built again."""
    digests = {name.partition("/")[2].partition(".")[0]: digest for name, digest in before.items()}
    steps: Sequence[tuple[str, Any]] = list(outcome["how"].items())
    return [
        f"{name} was built again"
        for name, (how, key) in steps
        if how == "built" and key in digests and digests[key] != key and digests[key] not in damaged
    ]
