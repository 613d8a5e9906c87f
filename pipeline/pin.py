"""`python -m pipeline.pin experiment=NAME`: writes what an experiment comes to into a lock beside its YAML."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import errors
from pipeline.config import compose
from pipeline.errors import ConfigError, DrydockError, Problem
from pipeline.planning import ways
from pipeline.printable import as_typed
from pipeline.record import lineage
from pipeline.reproduction import rebuild
from pipeline.reproduction.lock import GROUP, Lock, file, named
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
    name = named(parser.parse_args().experiment)
    beside = file(name)
    config = compose.compose([f"{GROUP}={name}"]).config
    _demand_pinned(name, config)
    nodes = compose.checked_graph(config)
    store = compose.store_of(config)
    with tempfile.TemporaryDirectory(prefix="drydock-") as folder:
        try:
            made = rebuild.run(nodes, lineage.about(config), Path(folder) / "store", Path(folder) / "artifact")
        except DrydockError as e:
            if not config["instead"] or not ways.may_go_on(e):
                raise
            raise type(e)([*e.problems, _undecided(name, config["instead"])]) from e
        store.adopt(made.store.open(str((made.result.record or {})["digest"])))  # to be compared with one day
    try:
        Lock.of(name, made.result).write()
    except OSError as e:
        raise ConfigError(
            f"{beside} cannot be written: {e.strerror}",
            allowed=f"an experiment in a folder that this user can write, such as ./conf/{GROUP}",
        ) from e
    say(str(beside))
    return errors.OK


def _undecided(name: str, instead: Mapping[str, Sequence[str]]) -> Problem:
    """What is pinned is one way: what a run would go on with is to be chosen."""
    group, options = next(iter(instead.items()))
    return Problem(
        f"{GROUP}={name} leaves {group} to what serves, and what is pinned is one choice",
        allowed=errors.listed(options),
        command=f"override /{group}: {options[0]} in the experiment's YAML, where a run says that it serves",
    )


def _demand_pinned(name: str, config: Mapping[str, Any]) -> None:
    """Refuses what would mean something else on another machine."""
    model = config["model"]
    weights = model["weights"] or model["path"]  # a file of another framework has them in it
    if weights == "auto":
        raise ConfigError(
            f"{GROUP}={name} leaves model.weights to what can be had at the time: auto",
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
