"""A command that Hydra composes: a single run, a sweep, or one of Hydra's flags; and Hydra's errors in our words."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from pipeline import disk, errors, one_job
from pipeline.artifact import Artifact
from pipeline.config import complaints, compose, flags, help  # noqa: A004 (a noun of the room)
from pipeline.config.cache import compositions, drafts
from pipeline.config.hydra_shortcuts import compose_once
from pipeline.config.schema import ROOT
from pipeline.config.wiring import CONF
from pipeline.errors import DrydockError, StageError
from pipeline.job import Job
from pipeline.one_job import Launch
from pipeline.printable import tell, width_of
from pipeline.running import watchdog
from pipeline.runs import refusal
from pipeline.runs.jobs import Sweep, number_in
from pipeline.runs.manifest import RUNS
from pipeline.sweeping import sweep
from pipeline.terminal import console
from pipeline.terminal.command import bug

# Reaches the log file alone: a person is shown the problem, not the traceback.
trace = logging.getLogger("traceback")

compose_once()

# The exit code of each job that ran in this process; Hydra hands nothing back.
_codes: list[int] = []
# Of this command: the run folders that existed before it, and whether a person wants to see tracebacks.
_there_before: list[Path] = []
_wants_tracebacks: list[bool] = []
# The last job's artifacts in memory, for the next job of the same sweep.
_in_memory: dict[str, Artifact] = {}


def main() -> int:
    """Runs the command line and returns the exit code that pipeline/errors.py promises."""
    _codes.clear()
    sweep.begun.clear()
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    _wants_tracebacks[:] = [wants_traceback]
    _there_before[:] = refusal.named(sys.argv[1:])
    try:
        compose.refuse_missing_folders()
        flags.refuse(sys.argv[1:], ROOT, CONF)
        if (answer := help.answer(sys.argv[1:])) is not None:
            print(answer)
            return errors.OK
        with _environ(HYDRA_FULL_ERROR="1"), watchdog.interrupts(), watchdog.at_end(_ended):
            _hydra_entry()
    except KeyboardInterrupt:
        for begun in sweep.begun:
            _report_end(begun, interrupted=True)
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
        return console.show(complaints.of_logging(e) or bug(e))
    if sweep.begun:
        return _report_end(sweep.begun[-1])
    return max(_codes, default=errors.OK)


def _ended(error: StageError | None) -> int | None:
    """Reports the sweeps when the process has to be ended."""
    codes = [begun.tell(interrupted=error is None) for begun in sweep.begun]
    return codes[-1] if codes else None


def _report_end(begun: Sweep, *, interrupted: bool = False) -> int:
    """Prints a sweep's report and how it ended, and returns its exit code."""
    if begun.reported:
        from pipeline import report  # here, so that no single run pays for it
        from pipeline.report import tables
        from pipeline.report.select import Rule

        try:
            room = width_of(sys.stderr) if sys.stderr.isatty() else None
            swept = report.of_sweep(begun.root, Rule.read(begun.select) if begun.select else None)
            tell(f"{tables.terminal(swept, failures=False, columns=room)}\nreport    {begun.root / report.PAGE}")
        except Exception as e:  # whatever went wrong here, the jobs' outcomes are valid, and are printed below
            trace.error("the report failed", exc_info=e)
            tell(f"the report cannot be made: {type(e).__name__}: {e}")
    return begun.tell(interrupted=interrupted)


def launched_elsewhere() -> bool:
    """Whether a sweep of this process has jobs in other processes."""
    return any(not begun.here for begun in sweep.begun)


def job(cfg: DictConfig) -> int:
    """Runs one job. Its run.json and exit code say what went wrong; it raises nothing, so that a sweep goes on."""
    its = HydraConfig.get()
    if its.mode is RunMode.MULTIRUN:
        sweep.refuse_others(its.sweeper["_target_"])
    overrides = compose.typed(its)
    alone = its.mode is RunMode.RUN
    folder = _run_folder()
    launch = Launch(
        folder=folder,
        overrides=overrides,
        choices=dict(its.runtime.choices),
        compose=partial(compose.of_job, cfg),
        here=Path(hydra.utils.get_original_cwd()),
        in_sweep=not alone,
        number=None
        if alone or any(begun.here for begun in sweep.begun)
        else number_in(its.sweep.dir, its.sweep.subdir),
        in_memory=_in_memory
        if sweep.begun
        else None,  # in the sweep's own process alone: a pool would hold one in each
        removable=alone and refusal.is_fresh(folder) and folder not in _there_before,
        tracebacks=_wants_tracebacks == [True],
        ready=partial(_cache, cfg) if alone and compositions.cacheable(sys.argv[1:]) else None,
    )
    _codes.append(code := one_job.run(launch))
    return code


def _cache(cfg: DictConfig, ready: Job) -> None:
    """Caches the composition, so that the same command runs without Hydra."""
    with contextlib.suppress(OmegaConfBaseException, OSError):
        draft = drafts.of_job(cfg, ready.composed)
        if draft is not None:
            compositions.save(sys.argv[1:], draft)


# Apart from the job itself, so that launchers send that by name to their processes.
_hydra_entry = hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(job)


def _run_folder() -> Path:
    return Path(HydraConfig.get().runtime.output_dir)


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
