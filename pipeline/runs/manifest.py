"""run.json: what a run was made of and what came of it, enough to explain the artifact a year later."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.errors import OK, DrydockError
from pipeline.machine import processor
from pipeline.machine.installed import distributions, own_version
from pipeline.machine.world import library_version
from pipeline.planning.plan import Step
from pipeline.running.outcome import Outcome, Result
from pipeline.store.files import write_json

SCHEMA = 2
ALWAYS = ("hydra-core", "omegaconf", "filelock")


class RunManifest:
    """The run.json of one run: written when it starts, kept up as its stages start, and replaced when it ends.

    Others learn from it what became of a run, so it is there from before anything can go wrong.

    Args:
        path: Where it is written.
        overrides: What was typed.
        choices: Which option each config group resolved to.
    """

    def __init__(self, path: Path, overrides: Sequence[str], choices: Mapping[str, Any]) -> None:
        self.path = path
        self._content: dict[str, Any] = {
            "schema": SCHEMA,
            "status": "running",
            "started": _now(),
            "command": sys.argv,
            "folder": str(Path.cwd()),
            "overrides": list(overrides),
            "choices": dict(choices),
            "config": {},
            "seed": None,
            "drydock": own_version(),
            "git": None,
            "machine": machine(),
            "versions": {"python": platform.python_version(), **{name: library_version(name) for name in ALWAYS}},
            "environment": distributions(),
            "stage": None,
            "stages": [],
        }
        self._write()

    def asked(self, config: Mapping[str, Any], git: Mapping[str, Any] | None) -> None:
        """Takes note of the resolved configuration, plain JSON, and of `pipeline.machine.git.state`. Raises OSError."""
        self._content |= {"config": config, "seed": config["seed"], "git": git}
        self._write()

    def planned(self, steps: Sequence[Step]) -> None:
        """Takes note of the library versions that the stages' keys stand on."""
        for step in steps:
            self._content["versions"] |= (step.key_document or {}).get("libraries", {})

    def started(self, name: str) -> None:
        """Writes which stage runs now. Raises OSError."""
        self._content["stage"] = name
        self._write()

    def stage(self, outcome: Outcome) -> None:
        """Takes note of a finished stage."""
        self._content["stage"] = None
        known = [s for s in self._content["stages"] if s["name"] != outcome.name]
        self._content["stages"] = [*known, asdict(outcome)]

    def finish(self, result: Result) -> None:
        """Writes the end of a run that succeeded. Raises OSError."""
        self._content["stages"] = [asdict(o) for o in result.outcomes]
        artifact = str(result.delivered) if result.delivered else None
        self._end("ok", exit_code=OK, artifact=artifact, record=result.record)

    def only_planned(self) -> None:
        """Writes the end of a run that was only to be planned. Raises OSError."""
        self._end("planned", exit_code=OK)

    def fail(self, error: DrydockError | None, exit_code: int) -> None:
        """Writes the end of a run that did not: an error of ours, or None for an interruption. Raises OSError."""
        problems = [asdict(p) for p in error.problems] if error else []
        self._end("failed" if error else "interrupted", problems=problems, exit_code=exit_code)

    def _end(self, status: str, **more: Any) -> None:
        self._content |= {"status": status, "ended": _now(), **more}
        self._write()

    def _write(self) -> None:
        write_json(self.path, self._content, ordered=True)


def machine() -> dict[str, Any]:
    """What this machine is: names and counts, no secrets."""
    return {
        "host": platform.node(),
        "system": platform.platform(),
        "cpu": processor.describe()["name"],
        "instructions": processor.describe()["instructions"],
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS"),  # launchers give each job its share
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
