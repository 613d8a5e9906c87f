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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from pipeline import complaints, compose, console, delivery, errors, git, isolation, plan
from pipeline.command import leave, sigterm_interrupts, spare_collections, stdout_for_the_result
from pipeline.compose import CONF
from pipeline.console import Console, plan_table
from pipeline.errors import ConfigError, DrydockError
from pipeline.hydra_mode import compose_once
from pipeline.manifest import RunManifest
from pipeline.plan import Step
from pipeline.record import lineage
from pipeline.runner import Outcome, Runner
from pipeline.store import Store
from pipeline.world import ThisMachine

# Where the summary's total time begins, give or take the interpreter's own start.
BEGAN = time.perf_counter()

log = logging.getLogger(__name__)
# Reaches the log file alone: a person is shown the problem, not the traceback.
trace = logging.getLogger("traceback")

compose_once()

# What was typed for each job that ran in this process, and its exit code.
_jobs: list[tuple[str, int]] = []
# Where those jobs delivered to: in a sweep, no job may replace what another one delivered.
_outputs: list[Path] = []


def main() -> int:
    """Runs the command line and returns the exit code that pipeline/errors.py promises."""
    _jobs.clear()
    _outputs.clear()
    spare_collections()
    # What `python -m` does, for the console script too; last, so that nothing of the user's shadows our own.
    if str(Path.cwd()) not in sys.path and "" not in sys.path:
        sys.path.append(str(Path.cwd()))
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    try:
        compose.refuse_missing_folders()
        with _environ(HYDRA_FULL_ERROR="1"), sigterm_interrupts():
            _hydra_entry()
    except KeyboardInterrupt:
        return errors.INTERRUPTED
    except complaints.RAISED as e:
        if wants_traceback:
            traceback.print_exc()
        return console.show(complaints.of_hydra(e, CONF))
    except DrydockError as e:
        return console.show(e)
    except OSError as e:  # Hydra makes the run folder before any code of ours runs
        place = f" in {e.filename}" if e.filename else ""
        return console.show(
            ConfigError(f"the run folder cannot be made{place}: {e.strerror}", command="hydra.run.dir=/a/folder")
        )
    if len(_jobs) < 2:
        return max((code for _, code in _jobs), default=errors.OK)
    failed = [f"  exit code {code}: {overrides}" for overrides, code in _jobs if code]
    print(f"{len(_jobs)} jobs, {len(failed)} failed", *failed, sep="\n", file=sys.stderr)
    return errors.SWEEP_FAILED if failed else errors.OK


def entry() -> NoReturn:
    """The command itself: main, and out.

    After a single job the process ends at once. A sweep ends the usual way, since launchers clean up behind themselves.
    """
    code = main()
    if len(_jobs) != 1:
        raise SystemExit(code)
    leave(code)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def _hydra_entry(cfg: DictConfig) -> int:
    """One job. Never raises but for an interruption, so that one failed job cannot end a sweep."""
    code = errors.BUG
    try:
        logging.captureWarnings(True)  # vendors' warnings belong in the log file; stages tell those that matter
        with stdout_for_the_result() as say:
            code = _run(cfg, say)
    except DrydockError as e:
        code = _report(e)
    except KeyboardInterrupt:
        log.error("interrupted; run the same command again to go on from the last finished stage")
        raise
    except Exception as e:
        trace.error("a bug in Drydock", exc_info=e)
        where = _run_folder() / "pipeline.log"
        log.error("error: a bug in Drydock: %s: %s\n  the log has the traceback: %s", type(e).__name__, e, where)
    _jobs.append((" ".join(HydraConfig.get().overrides.task), code))
    return code


def _run(cfg: DictConfig, say: Any) -> int:
    """One job, from its configuration to its exit code: check everything, plan, run, tell. Raises DrydockError."""
    composed = compose.of_job(cfg)
    config = composed.config
    nodes = compose.checked_graph(config)
    apart = isolation.of(config["runner"], sweeping=HydraConfig.get().mode is RunMode.MULTIRUN)
    output = Path(hydra.utils.to_absolute_path(config["output"]))
    store = Store(compose.store_folder(config))
    world = ThisMachine(store.root / "facts", may_fetch=not config["plan"])
    delivery.refuse(output, store.root, _outputs)
    if config["plan"]:
        say(plan_table(plan.make(plan.settle(nodes, world), store, world, damaged=set(), explain=True)))
        return errors.OK
    delivery.check(output)
    _outputs.append(output)
    state = git.state(world, (_runs(), store.root, output))
    if config["require_clean"]:
        git.refuse_changes(state)
    manifest = RunManifest(_run_folder() / "run.json", config, composed.overrides, composed.choices, state)
    screen = Console(BEGAN if HydraConfig.get().mode is RunMode.RUN else time.perf_counter())
    log.info("drydock  %s → %s  %s", config["model"]["name"], config["target"]["name"], config["precision"]["name"])
    try:
        result = Runner(nodes, store, world, output, _Both(screen, manifest), lineage.about(config), apart).run()
    except DrydockError as e:
        manifest.fail(e, e.exit_code)
        raise
    except KeyboardInterrupt:
        manifest.fail(None, errors.INTERRUPTED)
        raise
    finally:
        screen.close()
    manifest.finish(result)
    screen.summary(result, manifest.path)
    if result.delivered is not None:
        say(str(result.delivered))
    return errors.OK


class _Both:
    """The console and the manifest as one listener."""

    def __init__(self, screen: Console, manifest: RunManifest) -> None:
        self._screen, self._manifest = screen, manifest

    def planned(self, steps: Sequence[Step]) -> None:
        self._manifest.planned(steps)
        self._screen.planned(steps)

    def started(self, name: str) -> None:
        self._screen.started(name)

    def finished(self, outcome: Outcome) -> None:
        self._manifest.stage(outcome)
        self._screen.finished(outcome)


def _run_folder() -> Path:
    return Path(HydraConfig.get().runtime.output_dir)


def _runs() -> Path:
    """The folder that this run and others like it write to: below the current one, what its first part names."""
    here, folder = Path.cwd(), _run_folder()
    inside = folder.is_relative_to(here) and folder != here
    return here / folder.relative_to(here).parts[0] if inside else folder


def _report(error: DrydockError) -> int:
    """Shows what went wrong in a job; the traceback goes to the log file alone."""
    trace.error("the run ended here", exc_info=error)
    for problem in error.problems:
        log.error("error: %s", problem)
    log.error("log: %s", _run_folder() / "pipeline.log")
    return error.exit_code


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
