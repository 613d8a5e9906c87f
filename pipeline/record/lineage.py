"""The record: what determined an artifact's content, and its checks.

    delivered ◄─ audit ◄─ check ◄─ compile ◄─ … ◄─ load        followed back from what is delivered
                  claims   claims └─ reference                 what vouches, and what that stood on

Only what the content determines goes in, so that equal content has equal bytes on every machine: no date, host, path or
commit, and no measured figure, whose last digits change with the processor. Those are in run.json.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pipeline.code.names import PACKAGE, is_ours
from pipeline.machine.installed import own_version
from pipeline.planning import plan
from pipeline.planning.graph import Node
from pipeline.planning.plan import Step
from pipeline.stage import settings_of
from pipeline.store import Store
from pipeline.store.store import FACTS

SCHEMA = 2
# What stands in a recorded setting for the name of a file: what the file holds is under `content`.
A_FILE = "<file>"


def record_of(delivering: Node, steps: Mapping[str, Step], store: Store, about: Mapping[str, Any]) -> dict[str, Any]:
    """The record of what a stage delivers.

    Args:
        delivering: The node of the stage; its first port receives the delivered artifact.
        steps: The finished plan, by stage.
        store: Where the results are.
        about: The choices of the run: model, target, precision, seed.

    Raises Damaged when a result is gone.
    """
    delivered = next(iter(delivering.inputs.values()))
    digest = steps[delivered].digest or ""
    artifact = store.glance(digest)
    chain = _chain(delivered, steps)
    members = [steps[name] for name in steps if name in chain]
    libraries = {m: v for s in members for m, v in (s.key_document or {}).get("libraries", {}).items()}
    return {
        "schema": SCHEMA,
        "drydock": own_version(),
        **about,
        "kind": str(artifact.kind),
        "digest": digest,
        "content": {f.path: f.sha256 for f in store.files(digest) if f.path != FACTS},
        "facts": dict(artifact.facts),
        "made_by": _maker(delivered, steps),
        "handed_on_by": _voucher(delivered, steps),
        "checks": [
            {"stage": s.name, "of": _maker(s.name, steps), "delivered": s.digest == digest, **_claims(s)}
            for s in members
            if s.stage.passes_on is not None or _claims(s)
        ],
        "libraries": dict(sorted(libraries.items())),
        "sources": dict(sorted({f: d for s in members for f, d in plan.sources_of(s.node).items()}.items())),
        "stages": [_stage(s, steps) for s in members],
    }


def is_repeatable(record: Mapping[str, Any]) -> bool:
    """Whether the artifact can be rebuilt byte for byte; a compiler that measures times cannot do that."""
    return all(s.get("repeatable", True) for s in record["stages"] if s["name"] == record["made_by"])


def about(config: Mapping[str, Any]) -> dict[str, Any]:
    """A record's entries besides the stages, from a resolved configuration."""
    precision = {name: config["precision"][name] for name in ("name", "storage", "compute")}
    names = {"model": config["model"]["name"], "target": config["target"]["name"]}
    return {**names, "precision": precision, "seed": config["seed"]}


def text(record: Mapping[str, Any]) -> str:
    """The one text of a record, in ASCII on one line, as model files carry it."""
    return json.dumps(record, separators=(",", ":"))


def _claims(step: Step) -> Mapping[str, Any]:
    """A stage's claims, and what it did not check; empty for a stage that only measures, such as a benchmark."""
    claims = step.entry.notes.get("claims", {}) if step.entry else {}
    return claims if isinstance(claims, dict) else {}


def _maker(name: str, steps: Mapping[str, Step]) -> str:
    """The stage that made a stage's output."""
    node = steps[name].node
    return _maker(node.inputs[port], steps) if (port := node.stage.passes_on) else name


def _voucher(name: str, steps: Mapping[str, Step]) -> str:
    """The nearest stage, from here back, that made the artifact or vouches for it."""
    step = steps[name]
    port = step.stage.passes_on
    return name if port is None or _claims(step) else _voucher(step.node.inputs[port], steps)


def _needs(step: Step, steps: Mapping[str, Step]) -> dict[str, str]:
    return {port: _voucher(source, steps) for port, source in step.node.inputs.items()}


def _chain(name: str, steps: Mapping[str, Step]) -> set[str]:
    """All stages that a stage's output depends on."""
    chain: set[str] = set()

    def visit(at: str) -> None:
        if at not in chain:
            chain.add(at)
            for source in _needs(steps[at], steps).values():
                visit(source)

    visit(_voucher(name, steps))
    return chain


def _stage(step: Step, steps: Mapping[str, Step]) -> dict[str, Any]:
    """One stage of a finished plan: its settings, the digests of its files, and that of its result."""
    assert step.key_document is not None
    entry = {**stage_entry(step.node, step.key_document), "needs": _needs(step, steps)}
    stored = step.stage.passes_on is None and not step.in_memory and step.stage.repeatable
    return {**entry, "digest": step.digest} if stored else entry


def stage_entry(node: Node, document: Mapping[str, Any]) -> dict[str, Any]:
    """A record's entry for one stage, with the fields that are known before the stage runs.

    Args:
        node: The settled stage in the graph.
        document: Its key document; the inputs are not used.
    """
    settings = _without(node.stage.files(), settings_of(node.stage))
    entry: dict[str, Any] = {"name": node.name, "stage": document["stage"]}
    if not is_ours(type(node.stage).__module__):
        entry["class"] = f"{type(node.stage).__module__}.{type(node.stage).__qualname__}"
    entry |= {"settings": settings, "libraries": sorted(document["libraries"])}
    if theirs := {n: v for n, v in document["code"].items() if n != PACKAGE}:
        entry["code"] = theirs
    if node.stage.passes_on is None:
        # What a stage that makes something says of itself beyond its settings: digests of files and of code.
        entry["content"] = {n: v for n, v in document["settings"].items() if settings.get(n) != v}
    if not node.stage.repeatable:
        entry["repeatable"] = False
    return entry


def _without(files: Collection[str], value: Any) -> Any:
    """Settings without the names of files: where a file lies says nothing about its content."""
    if isinstance(value, Mapping):
        return {n: _without(files, v) for n, v in value.items()}
    if isinstance(value, list):
        return [_without(files, v) for v in value]
    return A_FILE if isinstance(value, str) and value in files else value


def placeholders(value: Any, place: str) -> Iterator[str]:
    """Where in recorded settings the name of a file was."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from placeholders(item, f"{place}.{name}")
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from placeholders(item, f"{place}.{i}")
    elif value == A_FILE:
        yield place
