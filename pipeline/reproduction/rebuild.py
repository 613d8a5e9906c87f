"""Builds or rebuilds an artifact: a graph from a record or a configuration, run in a given store."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import compose
from pipeline.config.instantiate import build_stage
from pipeline.errors import ConfigError, DrydockError, Problem, listed
from pipeline.machine.world import ThisMachine
from pipeline.planning import graph, plan
from pipeline.planning.graph import Node
from pipeline.record import difference, lineage, older
from pipeline.record.difference import Difference
from pipeline.record.locate import LocatedRecord
from pipeline.reproduction import trust
from pipeline.running import delivery
from pipeline.running.outcome import Result
from pipeline.running.runner import Runner
from pipeline.stage import World
from pipeline.store import Store
from pipeline.terminal.console import Console

DELIVERING = "save"


@dataclass(frozen=True)
class Rebuilt:
    """The result of a graph.

    Args:
        result: The run's result, with a record.
        store: Where every stage's result is.
    """

    result: Result
    store: Store


def run(nodes: Sequence[Node], about: Mapping[str, Any], store: Path, output: Path) -> Rebuilt:
    """Runs a graph and delivers what it makes.

    Args:
        nodes: The graph, checked.
        about: The keys of its record beside the stages.
        store: The store's folder; an empty one, or none yet, to rebuild everything.
        output: The folder to deliver to.

    Raises DrydockError.
    """
    own = Store(store)
    screen = Console(time.perf_counter())
    delivery.refuse(output, store)
    delivery.check(output)
    try:
        result = Runner(nodes, own, ThisMachine(store / "facts", may_fetch=True), output, screen, about).run()
    finally:
        screen.close()
    if result.record is None:
        raise ConfigError(
            "this graph delivers nothing, so there is nothing to pin or to compare",
            allowed="a graph with a stage that delivers, such as save",
        )
    return Rebuilt(result, own)


def graph_of(located: LocatedRecord, assignments: Sequence[str], *, own: bool) -> list[Node]:
    """The graph that a record describes, with a stage that delivers its result.

    Args:
        located: The record.
        assignments: What was typed, such as "stages.load.weights=net.pth": the files, which a record does not name.
        own: Whether a run of this user's wrote it, so that files are where they were then; anything else comes from
            anybody, see pipeline/reproduction/trust.py.

    Raises:
        ConfigError: When a file is not given, when the record names code that nobody has trusted, or when its stages
            cannot be built.
    """
    record = located.record
    settings = {s["name"]: {**older.SINCE.get(s["stage"], {}), **deepcopy(s["settings"])} for s in record["stages"]}
    if located.run is not None and own:
        _fill(settings, located.run["config"]["stages"], Path(located.run["folder"]))
    else:
        trust.demand(record, assignments)
    _apply(settings, assignments)
    _demand_files(record, settings)
    stages = {
        s["name"]: build_stage(f"stages.{s['name']}", {"_target_": s.get("class", s["stage"]), **settings[s["name"]]})
        for s in record["stages"]
    }
    if not own:
        trust.demand_typed(stages, assignments)
    delivering = compose.stage_settings(DELIVERING) | {"name": record["model"]}
    name = DELIVERING if DELIVERING not in stages else f"{DELIVERING}_again"
    stages[name] = build_stage(f"stages.{name}", delivering)
    needs = {s["name"]: list(s["needs"].values()) for s in record["stages"]}
    nodes = graph.build(stages, {**needs, name: [record["handed_on_by"]]})
    plan.check(nodes)
    return nodes


def about(record: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a record beside its stages."""
    return {n: record[n] for n in ("model", "target", "precision", "seed")}


def foreseen(record: Mapping[str, Any], nodes: Sequence[Node], world: World) -> list[Difference]:
    """The known differences between a graph and a record, without running it; for a run that failed."""
    stages, libraries = [], dict[str, str]()
    try:
        for node in plan.settle(nodes, world):
            document = plan.document_of(node, {}, world)
            stages.append(lineage.stage_entry(node, document))
            libraries |= document["libraries"]
    except DrydockError:  # the run has failed with the same error
        return []
    return difference.before_running(record, stages, libraries)


def _fill(settings: dict[str, Any], config: Mapping[str, Any], folder: Path) -> None:
    """Fills in the file names that a record leaves out, from the run's configuration."""
    for name, stage in settings.items():
        for place in list(lineage.placeholders(stage, "")):
            keys = place.lstrip(".").split(".")
            try:
                path = Path(_at(config[name], keys)).expanduser()
            except (KeyError, IndexError, TypeError, ValueError):
                continue
            if (folder / path).exists():
                _put(stage, keys, str(folder / path))


def _apply(settings: dict[str, Any], assignments: Sequence[str]) -> None:
    for typed in assignments:
        place, sign, value = typed.partition("=")
        keys = place.split(".")
        if not sign or len(keys) < 3 or keys[0] != "stages":
            raise ConfigError(
                f"{typed} is no setting of a stage",
                allowed="stages.NAME.SETTING=VALUE, for the files that a record does not name",
            )
        try:
            _at(settings, keys[1:])
        except (KeyError, IndexError, TypeError, ValueError):
            raise ConfigError(f"{place}: the record has no such setting") from None
        _put(settings, keys[1:], value)


def _at(value: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


def _put(value: Any, keys: Sequence[str], new: Any) -> None:
    holder = _at(value, keys[:-1])
    holder[int(keys[-1]) if isinstance(holder, list) else keys[-1]] = new


def _demand_files(record: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    content = {s["name"]: s.get("content", {}) for s in record["stages"]}
    missing = [(n, p) for n, s in settings.items() for p in lineage.placeholders(s, f"stages.{n}")]
    if missing:
        raise ConfigError(
            [
                Problem(
                    f"{place} named a file, and a record does not say where it lay",
                    allowed="one that holds what it held, by SHA-256 "
                    + (
                        listed(dict.fromkeys(_digests(content[name])))
                        or "as `python -m pipeline.inspect --json` has it"
                    ),
                    command=f"the same command with {place}=PATH",
                )
                for name, place in missing
            ]
        )


def _digests(value: Any) -> Iterator[str]:
    """The digests among what a stage's files held."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _digests(item)
    elif isinstance(value, list):
        for item in value:
            yield from _digests(item)
    elif isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value):
        yield value
