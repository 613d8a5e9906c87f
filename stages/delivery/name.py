"""The names that a delivered model may have."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.errors import Problem
from pipeline.stage import Setting

RECORD = "artifact"  # artifact.json, which the runner writes


class FileName(Setting):
    """A file's name without suffix."""

    def problems(self, name: str, value: str) -> Iterable[Problem]:
        if not value or "/" in value or value.startswith(".") or value == RECORD:
            allowed = f"a plain file name without suffix, and not '{RECORD}', which says what is beside it"
            yield Problem(f"{name} is '{value}'", allowed, command="model.name=NAME")
