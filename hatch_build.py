"""Puts into a wheel what a first run would otherwise read from the sources; see pipeline/code/index.py."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CodeIndex(BuildHookInterface):  # type: ignore[type-arg]
    """Adds stages/code.json."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":  # whose sources change
            return
        sys.path.insert(0, self.root)
        from pipeline.code import index

        made = Path(tempfile.mkdtemp()) / index.READY_MADE
        made.write_text(json.dumps(index.ready_made(Path(self.root) / "stages")))
        build_data["force_include"][str(made)] = f"stages/{index.READY_MADE}"
