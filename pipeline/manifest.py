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

from pipeline import processor
from pipeline.errors import DrydockError
from pipeline.installed import distributions, own_version
from pipeline.plan import Step
from pipeline.runner import Outcome, Result
from pipeline.store.files import write_json
from pipeline.world import library_version

SCHEMA = 2
ALWAYS = ("hydra-core", "omegaconf", "filelock")


class RunManifest:
    """The run.json of one run: written when it starts, replaced when it ends.

    Args:
        path: Where it is written.
        config: The resolved configuration, plain JSON.
        overrides: What was typed.
        choices: Which option each config group resolved to.
        git: See `pipeline.git.state`.
    """

    def __init__(
        self,
        path: Path,
        config: Mapping[str, Any],
        overrides: Sequence[str],
        choices: Mapping[str, Any],
        git: Mapping[str, Any] | None,
    ) -> None:
        self.path = path
        self._content: dict[str, Any] = {
            "schema": SCHEMA,
            "status": "running",
            "started": _now(),
            "command": sys.argv,
            "folder": str(Path.cwd()),
            "overrides": list(overrides),
            "choices": dict(choices),
            "config": config,
            "seed": config["seed"],
            "drydock": own_version(),
            "git": git,
            "machine": machine(),
            "versions": {"python": platform.python_version(), **{name: library_version(name) for name in ALWAYS}},
            "environment": distributions(),
            "stages": [],
        }
        self._write()

    def planned(self, steps: Sequence[Step]) -> None:
        """Takes note of the library versions that the stages' keys stand on."""
        for step in steps:
            self._content["versions"] |= (step.key_document or {}).get("libraries", {})

    def stage(self, outcome: Outcome) -> None:
        """Takes note of a finished stage."""
        known = [s for s in self._content["stages"] if s["name"] != outcome.name]
        self._content["stages"] = [*known, asdict(outcome)]

    def finish(self, result: Result) -> None:
        """Writes the end of a run that succeeded. Raises OSError."""
        self._content["stages"] = [asdict(o) for o in result.outcomes]
        self._end("ok", artifact=str(result.delivered) if result.delivered else None, record=result.record)

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
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
