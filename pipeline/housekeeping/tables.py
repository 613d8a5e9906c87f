"""The content of a store as text for people and as data for scripts."""

from __future__ import annotations

import functools
import os
import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pipeline import units
from pipeline.housekeeping.contents import OTHERS, Contents, Result
from pipeline.housekeeping.pins import Pin
from pipeline.printable import printable
from pipeline.store import use
from pipeline.store.owners import user_name


def results(chosen: Sequence[Result], pinned: Collection[str]) -> str:
    """A line for each result: its size, when it was last used, its stages, its models, its digest, and whose it is."""
    now, mine = time.time(), os.geteuid()
    rows = [("size", "used", "stage", "model → target", "digest", "")]
    # Of 100,000 results, many have the same size, stages and models.
    size, stages, models = functools.cache(units.size), functools.cache(_stages), functools.cache(_models)
    for result in chosen:
        notes = ""
        if result.owner != mine or result.digest in pinned:
            notes = ", ".join([*(["pinned"] if result.digest in pinned else []), *_of_another(result.owner, mine)])
        age, model = units.age(now - result.used), models(result.note, result.source)
        rows.append((size(result.size), age, stages(result.stages, result.kind), model, result.name[:12], notes))
    a, b, c, d, e, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines = (f"{r[0]:>{a}}  {r[1]:>{b}}  {r[2]:<{c}}  {r[3]:<{d}}  {r[4]:<{e}}  {r[5]}".rstrip() for r in rows)
    return "\n".join(lines)


def _of_another(owner: int, mine: int) -> list[str]:
    return [printable(f"of {user_name(owner)}", keep="")] if owner != mine else []


def _stages(stages: Sequence[str], kind: str) -> str:
    """The stages that a result is one of; its kind where no entry leads to it."""
    return printable(", ".join(stages) or f"({kind})", keep="")


def _models(note: str, source: str) -> str:
    """The models that a result was used for, by its note; without a note, the source of its model."""
    names = [f"{model} → {target}" for model, target in use.names_of(note)]
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return printable(", ".join(names[:2]) + more or source.rpartition(".")[2], keep="")


def as_data(result: Result, pinned: Collection[str]) -> dict[str, Any]:
    """A result for a script."""
    return {
        "digest": result.digest,
        "owner": user_name(result.owner),
        "kind": result.kind,
        "stages": list(result.stages),
        "models": [list(name) for name in result.names],
        "source": result.source,
        "bytes": result.size,
        "made": when(result.created),
        "used": when(result.used),
        "pinned": result.digest in pinned,
    }


def when(seconds: float) -> str:
    """A moment, ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def sizes(known: Contents, others: Mapping[str, int], pinned: Collection[str]) -> dict[str, Any]:
    """The bytes that each part of a store takes, for a script."""
    by_owner: dict[int, list[Result]] = defaultdict(list)
    for result in known.results:
        by_owner[result.owner].append(result)
    stored, entries = known.size(known.results), sum(entry.size for entry in known.entries)
    return {
        "store": str(known.root),
        "results": {"count": len(known.results), "bytes": stored},
        "owners": {user_name(o): {"count": len(r), "bytes": known.size(r)} for o, r in sorted(by_owner.items())},
        "pinned": _of(known, [r for r in known.results if r.digest in pinned]),
        "entries": {"count": len(known.entries), "bytes": entries},
        "others": dict(others),
        "total": stored + entries + sum(others.values()),
    }


def _of(known: Contents, some: Sequence[Result]) -> dict[str, int]:
    return {"count": len(some), "bytes": known.size(some)}


def sizes_text(sizes: Mapping[str, Any]) -> str:
    """The bytes that each part of a store takes, as lines for a person."""
    rows = [("results", sizes["results"]["bytes"], f"{sizes['results']['count']} of them")]
    if len(sizes["owners"]) > 1:
        rows += [(f"  of {name}", of["bytes"], f"{of['count']}") for name, of in sizes["owners"].items()]
    if sizes["pinned"]["count"]:
        rows.append(("  pinned", sizes["pinned"]["bytes"], f"{sizes['pinned']['count']}"))
    rows.append(("entries", sizes["entries"]["bytes"], f"{sizes['entries']['count']}: which key gave which result"))
    rows += [(name, count, OTHERS[name]) for name, count in sizes["others"].items() if count]
    rows.append(("total", sizes["total"], sizes["store"]))
    width = max(len(name) for name, _, _ in rows)
    return "\n".join(f"{name:<{width}}  {units.size(count):>10}  {text}" for name, count, text in rows)


def pins(found: Sequence[Pin], known: Contents) -> str:
    """A line for each pin."""
    sizes = {result.digest: result.size for result in known.results}
    lines = []
    for pin in found:
        there = [sizes[digest] for digest in pin.digests if digest in sizes]
        gone = f", {len(pin.digests) - len(there)} no longer in the store" if len(there) < len(pin.digests) else ""
        by = f", by {user_name(pin.owner)}" if pin.owner != os.geteuid() else ""
        lines.append(f"{pin.of}  {len(there)} results, {units.size(sum(there))}{gone}, since {pin.since[:10]}{by}")
    return "\n".join(printable(line, keep="") for line in lines) or "nothing is pinned"
