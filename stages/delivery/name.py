"""What a delivered model may be called."""

from __future__ import annotations

from pipeline.errors import Problem

RECORD = "artifact"  # artifact.json, which the runner writes


def problems(name: str) -> list[Problem]:
    """What is wrong with a file's name, which comes without suffix."""
    if name and "/" not in name and not name.startswith(".") and name != RECORD:
        return []
    allowed = f"a plain file name without suffix, and not '{RECORD}', which says what is beside it"
    return [Problem(f"name is '{name}'", allowed=allowed, command="model.name=NAME")]
