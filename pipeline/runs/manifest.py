"""run.json: what went into a run and how it ended, enough to explain the artifact a year later."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline import disk
from pipeline.errors import OK, DrydockError
from pipeline.machine import processor
from pipeline.machine.installed import distributions, own_version
from pipeline.machine.world import library_version
from pipeline.planning.plan import Step
from pipeline.running.outcome import Outcome, Result
from pipeline.runs.folders import hold, let_go
from pipeline.store.files import remove_dead, write_json

log = logging.getLogger(__name__)

SCHEMA = 2
RUNS = "hydra.run.dir=/another/folder, and with -m hydra.sweep.dir=/another/folder"
ALWAYS = ("hydra-core", "omegaconf", "filelock")


class RunManifest:
    """The run.json of one run: written when it starts, updated at each stage, and completed when it ends.

    Other programs read from it how a run ended, so it is written before anything can fail.

    Args:
        path: Where it is written.
        overrides: What was typed.
        choices: Which option each config group resolved to.
    """

    def __init__(self, path: Path, overrides: Sequence[str], choices: Mapping[str, Any]) -> None:
        self.path = path
        self.began_work = False  # whether a stage was started
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
        remove_dead(path.parent)  # of a run in the same folder
        self._write()
        self._lock = hold(path.parent)

    def note_configuration(self, config: Mapping[str, Any], git: Mapping[str, Any] | None) -> None:
        """Records the configuration, plain JSON, and `pipeline.machine.git.state`. Raises DrydockError."""
        self._content |= {"config": config, "seed": config["seed"], "git": git}
        self._write()

    def goes_on(self, config: Mapping[str, Any], changes: Mapping[str, str]) -> None:
        """Records that the run goes on with other choices, by group, after one way failed. Raises DrydockError."""
        self._content |= {"config": config, "choices": {**self._content["choices"], **changes}, "stages": []}
        self._write()

    def planned(self, steps: Sequence[Step]) -> None:
        """Records the library versions that are part of the stages' keys."""
        for step in steps:
            self._content["versions"] |= (step.key_document or {}).get("libraries", {})

    def started(self, name: str) -> None:
        """Records which stage runs now. Raises DrydockError."""
        self.began_work = True
        self._content["stage"] = name
        self._write()

    def stage(self, outcome: Outcome) -> None:
        """Records a finished stage."""
        self._content["stage"] = None
        known = [s for s in self._content["stages"] if s["name"] != outcome.name]
        self._content["stages"] = [*known, asdict(outcome)]

    def finish(self, result: Result) -> None:
        """Writes the end of a run that succeeded. Raises DrydockError."""
        self._content["stages"] = [asdict(o) for o in result.outcomes]
        artifact = str(result.delivered) if result.delivered else None
        more = {"instead": asdict(result.served)} if result.served else {}
        self._end("ok", exit_code=OK, artifact=artifact, record=result.record, **more)

    def only_planned(self) -> None:
        """Writes the end of a run that only planned. Raises DrydockError."""
        self._end("planned", exit_code=OK)

    def fail(self, error: DrydockError | None, exit_code: int) -> None:
        """Writes the end of a run that failed, if it can: an error of ours, or None for an interruption."""
        problems = [asdict(p) for p in error.problems] if error else []
        try:
            self._end("failed" if error else "interrupted", problems=problems, exit_code=exit_code)
        except DrydockError as e:
            log.error("error: %s", e)
            self._write_over()

    def _write_over(self) -> None:
        """Writes, on a full disk, how a run ended: in place of its beginning, and without all that takes space."""
        short = json.dumps({**self._content, "config": {}, "environment": {}, "stages": []}).encode()
        with contextlib.suppress(OSError):
            if len(short) <= self.path.stat().st_size:
                with self.path.open("r+b") as f:
                    f.write(short)
                    f.truncate()

    def _end(self, status: str, **more: Any) -> None:
        self._content |= {"status": status, "ended": _now(), **more}
        try:
            self._write()
        finally:
            let_go(self._lock)
            self._lock = None

    def _write(self) -> None:
        with disk.explained(f"the run folder {self.path.parent}", RUNS, self.path.parent):
            write_json(self.path, self._content, ordered=True)


def machine() -> dict[str, Any]:
    """A description of this machine: names and counts, no secrets."""
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
