"""The command line: what was typed, to the exit code. A composition that is kept runs at once; Hydra makes all others.

stdout carries the result alone (the artifact's path, or the plan), so that `$(python -m pipeline …)` works.
"""

from __future__ import annotations

import logging
import logging.config
import sys
from typing import NoReturn

from pipeline import disk, errors, one_job
from pipeline.config import kept
from pipeline.config.kept import Kept
from pipeline.errors import DrydockError
from pipeline.one_job import Launch
from pipeline.running import watchdog
from pipeline.runs.manifest import RUNS
from pipeline.terminal import console
from pipeline.terminal.command import import_from_here, leave, open_streams, spare_collections


def main() -> int:
    """Runs the command line and returns the exit code that pipeline/errors.py promises."""
    open_streams()
    spare_collections()
    logging.raiseExceptions = False  # a log that cannot be written ends no run, and draws no traceback
    try:
        import_from_here()
        if (known := kept.find(sys.argv[1:])) is not None:
            with watchdog.interrupts():
                return _run(known)
    except KeyboardInterrupt:
        return errors.INTERRUPTED
    except DrydockError as e:
        return console.show(e)
    from pipeline import by_hydra  # here: its import takes as long as a whole run without it

    return by_hydra.main()


def _run(known: Kept) -> int:
    """One run, as Hydra begins one: its folder, what Hydra writes there, and its log. Raises DrydockError."""
    try:
        known.folder.mkdir(parents=True, exist_ok=True)
        for name, text in known.files.items():
            (path := known.folder / name).parent.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")
    except OSError as e:
        raise disk.as_error(e, f"the run folder {known.folder}", RUNS, known.folder) from e
    logging.config.dictConfig(dict(known.logging))
    composed = known.composed
    return one_job.run(Launch(known.folder, composed.overrides, composed.choices, lambda: composed))


def entry() -> NoReturn:
    """The command itself: main, and out.

    The process ends at once, unless a sweep was launched elsewhere: launchers clean up behind themselves.
    """
    code = main()
    if (by_hydra := sys.modules.get("pipeline.by_hydra")) is not None and by_hydra.launched_elsewhere():
        raise SystemExit(code)
    leave(code)
