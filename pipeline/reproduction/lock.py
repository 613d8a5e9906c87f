"""The lock of an experiment: its record when it was pinned, in a file beside its YAML, meant for git."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pipeline.config import compose
from pipeline.errors import ConfigError, listed, nearest
from pipeline.record import locate
from pipeline.record.locate import LocatedRecord
from pipeline.running.outcome import Outcome, Result
from pipeline.store.files import write_json

SCHEMA = 2
# Before, a lock had source files of its own; now they are in its record.
OLDER = 1
GROUP = "experiment"


@dataclass(frozen=True)
class Lock:
    """The content of a lock.

    Args:
        schema: The schema of this file.
        experiment: Its name.
        python: The version of Python, major and minor.
        record: The record of the artifact; see pipeline/record/lineage.py.
        measured: Stage to the figures of its check, by shape; on another processor the last digits differ.
    """

    schema: int
    experiment: str
    python: str
    record: Mapping[str, Any]
    measured: Mapping[str, Any]

    @classmethod
    def of_run(cls, experiment: str, result: Result) -> Lock:
        """The lock of a run that has just ended.

        Args:
            experiment: Its name.
            result: The run's result, with a record.
        """
        assert result.record is not None
        return cls(
            schema=SCHEMA,
            experiment=experiment,
            python=python(),
            record=result.record,
            measured=measured(result.outcomes),
        )

    @classmethod
    def read(cls, experiment: str) -> Lock:
        """The lock beside an experiment's YAML. Raises ConfigError when there is none, or no such experiment."""
        path = file(experiment)
        if not path.is_file():
            raise ConfigError(
                f"experiment={experiment} is not pinned: there is no {path}",
                allowed="an experiment with a lock beside it",
                command=f"python -m pipeline.pin experiment={experiment}",
            )
        return cls.of_file(locate.find(path), experiment)

    @classmethod
    def of_file(cls, at: LocatedRecord, experiment: str) -> Lock:
        """The lock of an experiment, from a file. Raises ConfigError for one that this version does not read."""
        content = dict(at.lock or {})
        if content.get("schema") == OLDER:
            content = {name: part for name, part in content.items() if name != "sources"} | {"schema": SCHEMA}
        fits = {"schema": SCHEMA, "experiment": experiment}.items() <= content.items()
        mappings = all(isinstance(content.get(name), dict) for name in ("record", "measured"))
        if not fits or not mappings or set(content) != {f.name for f in fields(cls)}:
            raise ConfigError(
                f"{at.path} is no lock of experiment={experiment} that this version reads",
                allowed=f"schema {OLDER} or {SCHEMA}, as python -m pipeline.pin writes it",
                command=f"python -m pipeline.pin {GROUP}={experiment}",
            )
        return cls(**{**content, "record": at.record})

    def write(self) -> Path:
        """Writes it beside the YAML, replacing an earlier one. Returns its path. Raises OSError, ConfigError."""
        path = file(self.experiment)
        write_json(path, asdict(self), ordered=True)
        return path


def experiment_of(typed: str) -> str:
    """The name in experiment=NAME. Raises ConfigError."""
    group, sign, name = typed.partition("=")
    if group != GROUP or not sign or not name:
        raise ConfigError(
            f"{typed} names no experiment",
            allowed=f"{GROUP}=NAME alone: everything else is in the experiment's YAML",
            command=f"ls conf/{GROUP}",
        )
    return name


def file(experiment: str) -> Path:
    """Where the lock of an experiment is, or would be. Raises ConfigError when there is no such experiment."""
    experiments: dict[str, Path] = {}
    for folder in reversed([f / GROUP for f in compose.folders()]):
        experiments |= {p.relative_to(folder).with_suffix("").as_posix(): p for p in folder.rglob("*.yaml")}
    if experiment not in experiments:
        raise ConfigError(
            f"experiment={experiment}: there is no such experiment{nearest(experiment, experiments)}",
            allowed=listed(experiments, 30) or "none yet",
            command=f"add ./conf/{GROUP}/{experiment}.yaml of your own",
        )
    return experiments[experiment].with_suffix(locate.LOCK)


def measured(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The figures of the checks, by stage, to 3 digits: the worst error at each shape, accuracy, or perplexity."""
    figures: dict[str, Any] = {}
    for outcome in outcomes:
        if parity := outcome.notes.get("parity"):
            # Only the draws at each size: other families of values reuse these sizes.
            drawn = [case for case in parity["cases"] if case.get("family", "sizes") == "sizes"]
            figures[outcome.name] = {case["shape"]: _rounded(case["max_rel"]) for case in drawn}
        elif evaluation := outcome.notes.get("evaluation"):
            figures[outcome.name] = {str(evaluation["metric"]): _rounded(evaluation["value"])}
        elif perplexity := outcome.notes.get("perplexity"):
            figures[outcome.name] = {"perplexity": _rounded(perplexity["value"])}
    return figures


def python() -> str:
    """The version of Python, major and minor."""
    return ".".join(platform.python_version_tuple()[:2])


def _rounded(value: float) -> float:
    return float(f"{value:.2e}")
