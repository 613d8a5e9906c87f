"""The command line, from words to the exit code. A cached composition runs at once; Hydra handles everything else.

stdout carries the result alone (the artifact's path, or the plan), so that `$(python -m pipeline …)` works.
"""

from __future__ import annotations

import logging
import logging.config
import os
import sys
import traceback
from typing import NoReturn

from pipeline import disk, errors, one_job
from pipeline.config.cache import compositions
from pipeline.config.cache.compositions import Composition
from pipeline.errors import DrydockError
from pipeline.one_job import Launch
from pipeline.running import watchdog
from pipeline.runs import refusal
from pipeline.runs.manifest import RUNS
from pipeline.terminal import console
from pipeline.terminal.command import bug, import_from_here, leave, open_streams, spare_collections


def main() -> int:
    """Runs the command line and returns the exit code that pipeline/errors.py promises."""
    one_job.refusals.clear()
    try:
        return _main()
    finally:
        for folder in one_job.refusals:
            refusal.remove(folder)


def _main() -> int:
    open_streams()
    spare_collections()
    logging.raiseExceptions = False  # a log that cannot be written ends no run, and draws no traceback
    try:
        import_from_here()
        if (composition := compositions.find(sys.argv[1:])) is not None:
            with watchdog.interrupts():
                return _run(composition)
    except KeyboardInterrupt:
        return errors.INTERRUPTED
    except DrydockError as e:
        return console.show(e)
    except Exception as e:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            traceback.print_exc()
        return console.show(disk.of_unknown(e) or bug(e))
    from pipeline import by_hydra  # here: its import takes as long as a whole run without it

    return by_hydra.main()


def _run(composition: Composition) -> int:
    """One run, as Hydra begins one: its folder, what Hydra writes there, and its log. Raises DrydockError."""
    try:
        composition.folder.mkdir(parents=True, exist_ok=True)
        for name, text in composition.files.items():
            (path := composition.folder / name).parent.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")
    except OSError as e:
        raise disk.as_error(e, f"the run folder {composition.folder}", RUNS, composition.folder) from e
    logging.config.dictConfig(dict(composition.logging))
    composed, folder = composition.composed, composition.folder
    launch = Launch(
        folder=folder,
        overrides=composed.overrides,
        choices=composed.choices,
        compose=lambda: composed,
        removable=refusal.is_fresh(folder),
        tracebacks=os.environ.get("HYDRA_FULL_ERROR") == "1",
    )
    return one_job.run(launch)


def entry() -> NoReturn:
    """The command itself: runs `main` and ends the process.

    The process ends at once, unless a sweep was launched elsewhere: launchers clean up behind themselves.
    """
    code = main()
    if (by_hydra := sys.modules.get("pipeline.by_hydra")) is not None and by_hydra.launched_elsewhere():
        raise SystemExit(code)
    leave(code)
