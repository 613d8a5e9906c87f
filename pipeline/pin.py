"""`python -m pipeline.pin experiment=NAME`: runs an experiment and writes its results into a lock beside its YAML."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import errors
from pipeline.config import compose
from pipeline.config.composed import Composed, checked_graph, store_of
from pipeline.errors import ConfigError, DrydockError, Problem
from pipeline.planning import ways
from pipeline.planning.graph import Node
from pipeline.planning.ways import Refused
from pipeline.printable import as_typed
from pipeline.record import lineage
from pipeline.reproduction import rebuild
from pipeline.reproduction.lock import GROUP, Lock, experiment_of, file
from pipeline.terminal import command


def main(say: command.Say) -> int:
    """Runs the experiment in an empty store, as `reproduce` will, and writes the lock. Raises DrydockError."""
    parser = argparse.ArgumentParser(
        prog=as_typed("python -m pipeline.pin"),
        description="Runs an experiment and writes NAME.lock.json beside its YAML, meant for git: every stage with its "
        "settings and the digest of its result, the library versions, and what the checks found.",
        epilog=as_typed("python -m pipeline.reproduce experiment=NAME makes it again and compares."),
    )
    parser.add_argument("experiment", metavar="experiment=NAME")
    name = experiment_of(parser.parse_args().experiment)
    beside = file(name)
    composed = compose.compose([f"{GROUP}={name}"])
    config = composed.config
    _demand_pinned(name, config)
    nodes = checked_graph(config)
    store = store_of(config)
    with tempfile.TemporaryDirectory(prefix="drydock-") as folder:
        try:
            rebuilt = rebuild.run(nodes, lineage.about(config), Path(folder) / "store", Path(folder) / "artifact")
        except DrydockError as e:
            raise type(e)([*e.problems, *_undecided(name, composed, nodes, e)]) from e
        store.adopt(rebuilt.store.open(str((rebuilt.result.record or {})["digest"])))  # for later comparisons
    try:
        Lock.of_run(name, rebuilt.result).write()
    except OSError as e:
        raise ConfigError(
            f"{beside} cannot be written: {e.strerror}",
            allowed=f"an experiment in a folder that this user can write, such as ./conf/{GROUP}",
        ) from e
    say(str(beside))
    return errors.OK


def _undecided(name: str, composed: Composed, nodes: Sequence[Node], error: DrydockError) -> Iterator[Problem]:
    """The problem that a run would go on with another choice where this one failed: a lock has one choice."""
    stage = error.problems[0].what.partition(":")[0]
    if not ways.may_go_on(error) or stage not in [n.name for n in nodes]:
        return
    refused = Refused({}, nodes, stage, None, error)
    for changes in ways.alternatives(composed.config["instead"]):
        try:
            others = checked_graph(compose.changed(composed, changes).config)
        except DrydockError:  # one that cannot be had either
            continue
        if refused.leaves_open(others):
            chosen = ", ".join(f"override /{group}: {option}" for group, option in changes.items())
            what = f"{GROUP}={name} leaves {errors.listed(changes)} open (auto), and a lock has one choice"
            yield Problem(what, command=f"{chosen} in its YAML, which is what a run has chosen")
            return


def _demand_pinned(name: str, config: Mapping[str, Any]) -> None:
    """Refuses settings that may mean something else on another machine."""
    model = config["model"]
    weights = model["weights"] or model["path"]  # a file of another framework contains its weights
    if weights == "auto":
        raise ConfigError(
            f"{GROUP}={name} leaves model.weights open: auto",
            allowed="a file, with model.sha256; pretrained, with model.sha256; or random",
            command="model: {weights: …, sha256: …} in the experiment's YAML",
        )
    if weights != "random" and model["sha256"] is None:
        raise ConfigError(
            f"{GROUP}={name} does not say what {weights} holds: model.sha256 is null",
            allowed="the SHA-256 of the file, as 64 hex digits",
            command=f"python -m pipeline plan=true {GROUP}={name} tells it; then model: {{sha256: …}} in the YAML",
        )


if __name__ == "__main__":
    command.run(main)
