"""The command line: Hydra's entry, the order of a run, and the exit code.

stdout carries the result alone (the artifact's path, or the plan), so that `$(python -m pipeline …)` works.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from pipeline import disk, errors
from pipeline import job as jobs
from pipeline.artifact import Artifact
from pipeline.config import complaints, compose, flags, help  # noqa: A004 (a noun of the room)
from pipeline.config.hydra_shortcuts import compose_once
from pipeline.config.schema import ROOT
from pipeline.config.wiring import CONF
from pipeline.errors import ConfigError, DrydockError, StageError
from pipeline.printable import printable, tell, width_of
from pipeline.running import watchdog
from pipeline.runs import refusal
from pipeline.runs.jobs import Sweep
from pipeline.runs.manifest import RUNS, RunManifest
from pipeline.sweeping import sweep
from pipeline.terminal import console
from pipeline.terminal.command import (
    Say,
    columns,
    import_from_here,
    leave,
    open_streams,
    spare_collections,
    stdout_for_the_result,
)
from pipeline.terminal.console import Console, counted, plan_table

# Where the summary's total time begins, give or take the interpreter's own start.
BEGAN = time.perf_counter()

log = logging.getLogger(__name__)
# Reaches the log file alone: a person is shown the problem, not the traceback.
trace = logging.getLogger("traceback")

compose_once()

# The exit code of each job that ran in this process; Hydra hands nothing back.
_codes: list[int] = []
# The folders of runs that were refused, to be removed; those that were there before; whether tracebacks are shown.
_refused: list[Path] = []
_there_before: list[Path] = []
_shown: list[bool] = []
# What the last job had in memory, for the next one of the same sweep.
_kept: dict[str, Artifact] = {}


def main() -> int:
    """Runs the command line and returns the exit code that pipeline/errors.py promises."""
    try:
        return _main()
    finally:
        for folder in _refused:
            refusal.remove(folder)


def _main() -> int:
    _codes.clear()
    _refused.clear()
    sweep.begun.clear()
    open_streams()
    spare_collections()
    logging.raiseExceptions = False  # a log that cannot be written ends no run, and draws no traceback
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    _shown[:] = [wants_traceback]
    _there_before[:] = refusal.named(sys.argv[1:])
    try:
        import_from_here()
        compose.refuse_missing_folders()
        flags.refuse(sys.argv[1:], ROOT, CONF)
        if (answer := help.asked(sys.argv[1:])) is not None:
            print(answer)
            return errors.OK
        with _environ(HYDRA_FULL_ERROR="1"), watchdog.interrupts(), watchdog.at_end(_ended):
            _hydra_entry()
    except KeyboardInterrupt:
        for begun in sweep.begun:
            _told(begun, interrupted=True)
        return errors.INTERRUPTED
    except complaints.RAISED as e:
        if wants_traceback:
            traceback.print_exc()
        return console.show(complaints.of_hydra(e, CONF))
    except DrydockError as e:
        return console.show(e)
    except OSError as e:  # Hydra makes the run folder before any code of ours runs
        folder = _run_folder() if HydraConfig.initialized() else Path(e.filename or Path.cwd())
        return console.show(disk.as_error(e, f"the run folder {folder}", RUNS, folder))
    except Exception as e:
        if wants_traceback:
            traceback.print_exc()
        bug = DrydockError(
            f"a bug in Drydock: {type(e).__name__}: {e}", command="HYDRA_FULL_ERROR=1 shows the traceback"
        )
        return console.show(complaints.of_logging(e) or bug)
    if sweep.begun:
        return _told(sweep.begun[-1])
    return max(_codes, default=errors.OK)


def _ended(error: StageError | None) -> int | None:
    """What is said of a sweep when its process has to be ended."""
    codes = [begun.tell(interrupted=error is None) for begun in sweep.begun]
    return codes[-1] if codes else None


def _told(begun: Sweep, *, interrupted: bool = False) -> int:
    """Tells how a sweep ended, with its report, and returns its exit code."""
    if begun.reported:
        from pipeline import report  # here, so that no single run pays for it
        from pipeline.report import tables
        from pipeline.report.select import Rule

        try:
            room = width_of(sys.stderr) if sys.stderr.isatty() else None
            made = report.of_sweep(begun.root, Rule.read(begun.select) if begun.select else None)
            tell(f"{tables.terminal(made, failures=False, columns=room)}\nreport    {begun.root / report.PAGE}")
        except Exception as e:  # whatever it is, the jobs' outcomes stand, and are told below
            trace.error("the report failed", exc_info=e)
            tell(f"the report cannot be made: {type(e).__name__}: {e}")
    return begun.tell(interrupted=interrupted)


def entry() -> NoReturn:
    """The command itself: main, and out.

    The process ends at once, unless a sweep was launched elsewhere: launchers clean up behind themselves.
    """
    code = main()
    if any(not begun.here for begun in sweep.begun):
        raise SystemExit(code)
    leave(code)


def job(cfg: DictConfig) -> int:
    """One job. What goes wrong in it is in its run.json and its exit code, so that it cannot end a sweep by raising."""
    told = HydraConfig.get()
    if told.mode is RunMode.MULTIRUN:
        sweep.refuse_others(told.sweeper["_target_"])
    code = errors.OK
    manifest = None
    may_go = told.mode is RunMode.RUN and refusal.is_fresh(_run_folder()) and _run_folder() not in _there_before
    try:
        logging.captureWarnings(True)  # vendors' warnings belong in the log file; stages tell those that matter
        manifest = RunManifest(_run_folder() / "run.json", compose.typed(told), dict(told.runtime.choices))
        with watchdog.at_end(partial(_failed, manifest)), stdout_for_the_result() as say:
            _run(cfg, manifest, say)
    except KeyboardInterrupt:
        log.error("interrupted; run the same command again to go on from the last finished stage")
        _failed(manifest, None)
        raise
    except (Exception, SystemExit) as e:  # a model's own code may call sys.exit
        refused = may_go and isinstance(e, ConfigError) and (manifest is None or not manifest.began_work)
        error = _reported(e, refused=refused)
        _failed(manifest, error)
        if refused:
            _refused.append(_run_folder())
        code = error.exit_code
    _codes.append(code)
    return code


def _failed(manifest: RunManifest | None, error: DrydockError | None) -> None:
    if manifest is not None:
        manifest.fail(error, error.exit_code if error else errors.INTERRUPTED)


# Apart from the job itself, so that launchers send that by name to their processes.
_hydra_entry = hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(job)


def _run(cfg: DictConfig, manifest: RunManifest, say: Say) -> None:
    """One job, from its configuration to its artifact: check everything, plan, run, tell. Raises DrydockError."""
    composed = compose.of_job(cfg)
    config = composed.config
    manifest.asked(config, None)
    ready = jobs.ready(composed, Path(hydra.utils.get_original_cwd()))
    if config["plan"]:
        steps = ready.plan()
        log.info("%s", counted(steps))
        if ready.served is not None:
            log.info("instead  %s", ready.served)
        say(printable(plan_table(steps, columns())))
        manifest.only_planned()
        return
    screen = Console(BEGAN if HydraConfig.get().mode is RunMode.RUN else time.perf_counter())

    def begin() -> Console:
        log.info("drydock  %s → %s  %s", config["model"]["name"], config["target"]["name"], config["precision"]["name"])
        return screen

    try:
        kept = _kept if sweep.begun else None  # in the sweep's own process alone: a pool would hold one in each
        result = ready.run(manifest, begin, _runs(), kept)
    finally:
        screen.close()
    screen.summary(result, manifest.path)
    seen = columns() and sys.stderr.isatty() and not sweep.begun  # by the same person, in the summary
    if result.delivered is not None and not seen:
        say(str(result.delivered))


def _run_folder() -> Path:
    return Path(HydraConfig.get().runtime.output_dir)


def _runs() -> Path:
    """The folder that this run and others like it write to: below the current one, what its first part names."""
    here, folder = Path.cwd(), _run_folder()
    inside = folder.is_relative_to(here) and folder != here
    return here / folder.relative_to(here).parts[0] if inside else folder


def _reported(error: BaseException, *, refused: bool = False) -> DrydockError:
    """Shows what went wrong in a job, and gives it as an error of ours; the traceback goes to the log file alone.

    A run that was refused before any work leaves no log: all that it says is on the screen.
    """
    where = _run_folder() / "pipeline.log"
    if isinstance(error, DrydockError):
        trace.error("the run ended here", exc_info=error)
        for problem in error.problems:
            log.error("error: %s", problem)
        if not refused:
            log.error("log: %s", where)
        elif _shown == [True]:
            tell("".join(traceback.format_exception(error)))
        return error
    if (denied := disk.of_unknown(error)) is not None:
        return _reported(denied.with_traceback(error.__traceback__))
    trace.error("a bug in Drydock", exc_info=error)
    bug = f"a bug in Drydock: {type(error).__name__}: {error}"
    log.error("error: %s\n  the log has the traceback: %s", bug, where)
    return DrydockError(bug, command=f"the traceback is in {where}")


@contextlib.contextmanager
def _environ(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
