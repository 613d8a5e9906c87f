"""The console script `torch-drydock`: the pipeline, and each of its other commands by its name.

Apart from `pipeline`, so that a folder or an environment with another package of that name still gets an answer.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import NoReturn


def main() -> NoReturn:
    """Runs what was typed, and ends the process with its exit code."""
    with_ours = [str(Path(__file__).resolve().parent), *sys.path]
    before, sys.path[:] = list(sys.path), with_ours
    try:
        for package in ("pipeline", "stages"):  # ours, whatever else has these names
            importlib.import_module(package)
    finally:
        sys.path[:] = before
    from pipeline.config import again, flags, help  # noqa: A004 (a room's noun)
    from pipeline.terminal import command

    name, *rest = sys.argv[1:] or [""]
    if name in flags.COMMANDS:
        sys.argv[1:] = rest
        again.of_script[:] = [name]
        command.run(importlib.import_module(flags.COMMANDS[name]).main)
    if not name:
        command.run(help.brief)
    from pipeline.cli import entry  # here, since it has Hydra imported

    entry()


if __name__ == "__main__":
    main()
