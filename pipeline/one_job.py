"""One job of the command line, from its configuration to its exit code: its record, its screen, its log."""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline import disk, errors
from pipeline import job as jobs
from pipeline.artifact import Artifact
from pipeline.config.composed import Composed
from pipeline.errors import ConfigError, DrydockError
from pipeline.job import Job
from pipeline.printable import printable, tell
from pipeline.running import watchdog
from pipeline.runs.manifest import RunManifest
from pipeline.terminal.command import Say, columns, stdout_for_the_result
from pipeline.terminal.console import Console, counted, named, plan_table

# Where the summary's total time begins, give or take the interpreter's own start.
BEGAN = time.perf_counter()

log = logging.getLogger(__name__)
# The folders of runs that were refused before any work: to be removed once their logs are closed.
refusals: list[Path] = []
# Reaches the log file alone: a person is shown the problem, not the traceback.
trace = logging.getLogger("traceback")


@dataclass(frozen=True)
class Launch:
    """A job that begins.

    Args:
        folder: Its own folder, which exists.
        overrides: The overrides that were typed.
        choices: Config group to the option that was chosen.
        compose: Composes its configuration. Raises ConfigError.
        here: The folder that the command was typed in.
        in_sweep: Whether it is one job of a sweep.
        number: Its number, where a launcher runs the sweep's jobs in processes of their own: its lines begin with it,
            and the sweep prints what it delivered. Else None.
        in_memory: The artifacts in memory that jobs of the same process share, updated by each. None to keep none.
        ready: Called with the job once its graph is checked.
        removable: Whether the folder is this run's alone: it is then removed if the run is refused before any work.
        tracebacks: Whether a person wants to see them.
    """

    folder: Path
    overrides: Sequence[str]
    choices: Mapping[str, str | None]
    compose: Callable[[], Composed]
    here: Path | None = None
    in_sweep: bool = False
    number: int | None = None
    in_memory: dict[str, Artifact] | None = None
    ready: Callable[[Job], None] | None = None
    removable: bool = False
    tracebacks: bool = False


def run(launch: Launch) -> int:
    """Runs the job and returns its exit code. Errors go into its run.json; only KeyboardInterrupt is raised."""
    with named(launch.number):
        return _code(launch)


def _code(launch: Launch) -> int:
    manifest = None
    try:
        logging.captureWarnings(True)  # vendors' warnings belong in the log file; stages report those that matter
        manifest = RunManifest(launch.folder / "run.json", launch.overrides, launch.choices)
        with watchdog.at_end(partial(_failed, manifest)), stdout_for_the_result() as say:
            _run(launch, manifest, say)
    except KeyboardInterrupt:
        log.error("interrupted; run the same command again to go on from the last finished stage")
        _failed(manifest, None)
        raise
    except (Exception, SystemExit) as e:  # a model's own code may call sys.exit
        error = _reported(e, launch, refused := _is_refused(e, launch, manifest))
        _failed(manifest, error)
        if refused:
            refusals.append(launch.folder)
        return error.exit_code
    return errors.OK


def _is_refused(error: BaseException, launch: Launch, manifest: RunManifest | None) -> bool:
    """Whether a run was refused before any work and has left nothing but its message."""
    return launch.removable and isinstance(error, ConfigError) and (manifest is None or not manifest.began_work)


def _failed(manifest: RunManifest | None, error: DrydockError | None) -> None:
    if manifest is not None:
        manifest.fail(error, error.exit_code if error else errors.INTERRUPTED)


def _run(launch: Launch, manifest: RunManifest, say: Say) -> None:
    """From the configuration to the artifact: checks everything, plans, runs, reports. Raises DrydockError."""
    composed = launch.compose()
    config = composed.config
    manifest.note_configuration(config, None)
    if config["select"] is not None and not launch.in_sweep:
        raise ConfigError(
            f"select={config['select']} chooses among the jobs of a sweep, and this is a single run",
            allowed="select with -m",
            command="the same command without select=, or with -m before it",
        )
    ready = jobs.ready(composed, launch.here or Path.cwd())
    if launch.ready is not None:
        launch.ready(ready)
    if config["plan"]:
        steps = ready.plan()
        log.info("%s", counted(steps))
        if ready.served is not None:
            log.info("instead  %s", ready.served)
        say(printable(plan_table(steps, columns())))
        manifest.only_planned()
        return
    screen = Console(time.perf_counter() if launch.in_sweep else BEGAN)

    def begin() -> Console:
        log.info("drydock  %s → %s  %s", config["model"]["name"], config["target"]["name"], config["precision"]["name"])
        return screen

    try:
        result = ready.run(manifest, begin, _runs(launch.folder), launch.in_memory)
    finally:
        screen.close()
    screen.summary(result, manifest.path)
    on_screen = columns() and sys.stderr.isatty() and not launch.in_sweep  # by the same person, in the summary
    if result.delivered is not None and launch.number is None and not on_screen:
        say(str(result.delivered))


def _runs(folder: Path) -> Path:
    """The folder that runs write to: the first part of the run folder's path below the current folder."""
    here = Path.cwd()
    inside = folder.is_relative_to(here) and folder != here
    return here / folder.relative_to(here).parts[0] if inside else folder


def _reported(error: BaseException, launch: Launch, refused: bool) -> DrydockError:
    """Shows what went wrong in a job, and returns it as an error of ours. The traceback goes to the log file alone.

    A run that was refused before any work leaves no log: its whole message is on the screen.
    """
    where = launch.folder / "pipeline.log"
    if isinstance(error, DrydockError):
        trace.error("the run ended here", exc_info=error)
        for problem in error.problems:
            log.error("error: %s", problem)
        if not refused:
            log.error("log: %s", where)
        elif launch.tracebacks:
            tell("".join(traceback.format_exception(error)))
        return error
    if (denied := disk.of_unknown(error)) is not None:
        return _reported(denied.with_traceback(error.__traceback__), launch, refused=False)
    trace.error("a bug in Drydock", exc_info=error)
    bug = f"a bug in Drydock: {type(error).__name__}: {error}"
    log.error("error: %s\n  the log has the traceback: %s", bug, where)
    return DrydockError(bug, command=f"the traceback is in {where}")
