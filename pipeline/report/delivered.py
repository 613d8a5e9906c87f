"""What a run delivered, for its page: the file, its inputs and outputs, and Python that loads it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import formats
from pipeline.formats import Kind
from pipeline.report import speed
from pipeline.report.html import Piece, link, marked, table, tag
from pipeline.report.job import Job

# The folder of a run that an artifact is delivered to, unless output= says otherwise; see conf/config.yaml.
ARTIFACT = "artifact"
NO_LOADER = "Only the runtime that it is for opens it: no lines of Python are known."


@dataclass(frozen=True)
class Delivered:
    """The delivered model file.

    Args:
        path: Where it is.
        shown: Its path from the folder of the run; its name alone where it is elsewhere.
        inside: Whether it lies in the folder of the run.
    """

    path: Path
    shown: str
    inside: bool


def find(folder: Path, run: Mapping[str, Any]) -> Delivered | None:
    """What the run in a folder delivered; None where it delivered nothing, or the file is gone.

    A run's folder that was copied or moved has its file with it: it is looked for there first.
    """
    if not isinstance(artifact := run.get("artifact"), str):
        return None
    name = Path(artifact).name
    for path in (folder / ARTIFACT / name, Path(artifact)):
        if path.exists():
            inside = path.absolute().is_relative_to(folder.absolute())
            shown = path.absolute().relative_to(folder.absolute()).as_posix() if inside else name
            return Delivered(path, shown, inside)
    return None


def section(run: Mapping[str, Any], job: Job, delivered: Delivered | None) -> Piece:
    """The section of a run's page; empty for a run without a record."""
    if not (record := run.get("record")):
        return Piece("")
    name = Path(str(run.get("artifact"))).name
    try:
        inside = [
            *_of_the_model(record),
            *_interface(record["facts"].get("interface")),
            *_loading(record, job, delivered, name),
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as e:  # a page is made of any run.json, also an edited one
        inside = [tag("p", f"The record is not whole: {type(e).__name__}: {e}")]
    return tag("section", tag("h2", "Delivered"), tag("p", *_file(record, delivered), class_="note"), *inside)


def _file(record: Mapping[str, Any], delivered: Delivered | None) -> Iterator[str]:
    precision = record["precision"]
    stored = f"stored in {precision['storage']}, computes in {precision['compute']}"
    what = f"{record['kind']}, {precision['name']}: {stored}"
    if delivered is None:
        yield f"{what}. The file is no longer where the run left it."
    elif delivered.inside:
        yield link(delivered.shown, delivered.shown)
        yield f": {what}."
    else:
        yield f"{delivered.shown}, in a folder outside of this one: {what}."


def _of_the_model(record: Mapping[str, Any]) -> Iterator[Piece]:
    """That a folder for text generation has other inputs than the table, which the record has of the model."""
    if formats.format_of(record["kind"]).generation:
        text = (
            "The table is of the model. The runtime of the folder feeds it, and may keep caches as states of the graph."
        )
        yield tag("p", text, class_="note")


def _interface(interface: Mapping[str, Any] | None) -> Iterator[Piece]:
    if interface is None:
        yield tag("p", "The record says nothing of inputs and outputs.")
        return
    rows = [
        (what, tag("code", port["name"]), tag("code", port["dtype"]), tag("code", _shape(port["shape"])))
        for what in ("input", "output")
        for port in interface[f"{what}s"]
    ]
    yield table("Inputs and outputs", ("", "Name", "Type", "Shape"), rows)
    if dims := interface["dims"]:
        ranges = [(tag("code", dim["name"]), _range(dim)) for dim in dims]
        yield table("Dynamic dimensions", ("Dimension", "Sizes"), ranges)
    if any(size is None for output in interface["outputs"] for size in output["shape"]):
        yield tag("p", "?: a size that follows no dimension of the inputs.", class_="note")


def _shape(shape: Sequence[Any]) -> str:
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"


def _range(dim: Mapping[str, Any]) -> str:
    multiple = f", multiples of {dim['multiple']}" if dim["multiple"] > 1 else ""
    return f"{dim['min']} to {dim['max']}, usually {dim['opt']}{multiple}"


def _loading(record: Mapping[str, Any], job: Job, delivered: Delivered | None, name: str) -> Iterator[Piece]:
    yield tag("h3", "Load it")
    file = delivered.shown if delivered else name
    code = loading(record, file)
    if code is None:
        yield tag("p", NO_LOADER)
        return
    where = "in the folder of this page" if delivered and delivered.inside else "in the folder of the file"
    note = f"Typed {where}; zeros stand for your inputs."
    if job.target and (meant := job.not_by or _meant(job.target, record["kind"])):
        note = f"This runs the graph alone, not {meant}, which the target is for: README.md beside it says how. {note}"
    yield tag("p", note, class_="note")
    yield tag("pre", tag("code", code), tabindex=0)
    if advice := formats.part(record["kind"], "bundle").Bundle.ADVICE:
        yield tag("p", marked(advice), class_="note")


def _meant(target: str, kind: str) -> str:
    room, _ = formats.all_formats().get(Kind(kind), ("", None))
    return speed.meant(target, room.rpartition(".")[2])


def loading(record: Mapping[str, Any], file: str) -> str | None:
    """Python that loads a delivered file and runs it once on zeros; None where its format has none.

    Args:
        record: The record of what was delivered.
        file: Its path, as the code is to have it.
    """
    facts, kind = record["facts"], record["kind"]
    if not formats.format_of(kind).bundle or "interface" not in facts:
        return None
    interface = facts["interface"]
    sizes = {dim["name"]: int(dim["opt"]) for dim in interface["dims"]}
    arrays = ", ".join(
        f"{json.dumps(port['name'])}: np.zeros({tuple(_sized(port['shape'], sizes))}, {json.dumps(port['dtype'])})"
        for port in interface["inputs"]
    )
    names = json.dumps([port["name"] for port in interface["outputs"]])
    form = formats.part(kind, "bundle").Bundle
    code: str = form.loading(file, f"{{{arrays}}}", names, facts, _claim(record))
    return code


def _sized(shape: Sequence[Any], sizes: Mapping[str, int]) -> Iterator[int]:
    """A shape with the usual size of each dimension; a size may be a sum of names, such as past+sequence."""
    for size in shape:
        yield sum(sizes[name] for name in size.split("+")) if isinstance(size, str) else int(size)


def _claim(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the last check of the delivered file vouches for, with the type that it computes in."""
    claims = [check.get("parity") or check.get("unchecked") for check in record["checks"] if check.get("delivered")]
    return {"compute": record["precision"]["compute"], **next((c for c in reversed(claims) if c), {})}
