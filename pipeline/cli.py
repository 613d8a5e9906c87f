"""The command line: Hydra's entry, the order of a run, and the exit code.

stdout carries the result alone (the artifact's path, or the plan), so that `$(python -m pipeline …)` works.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from pipeline import complaints, delivery, errors, graph, plan
from pipeline.console import Console, plan_table
from pipeline.errors import ConfigError, DrydockError, Problem
from pipeline.hydra_mode import compose_once
from pipeline.instantiate import build_stage
from pipeline.manifest import RunManifest
from pipeline.plan import Step
from pipeline.runner import Outcome, Runner
from pipeline.schema import Root, register
from pipeline.stage import Stage
from pipeline.store import Store
from pipeline.world import ThisMachine

# Where the summary's total time begins, give or take the interpreter's own start.
BEGAN = time.perf_counter()

log = logging.getLogger(__name__)
# Reaches the log file alone: a person is shown the problem, not the traceback.
trace = logging.getLogger("traceback")

_HERE = Path(__file__).resolve().parent
# In a wheel conf/ lies inside the package, in a checkout beside it.
CONF = next(d for d in (_HERE / "conf", _HERE.parent / "conf") if d.is_dir())


class UserConfigs(SearchPathPlugin):
    """Adds ./conf and the folders that DRYDOCK_CONF names after the shipped ones: options are added, never shadowed."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        folders = [Path("conf").absolute(), *map(Path, filter(None, os.environ.get("DRYDOCK_CONF", "").split(":")))]
        for folder in folders:
            if folder.is_dir() and folder.resolve() != CONF:
                search_path.append("drydock", f"file://{folder.absolute()}")


Plugins.instance().register(UserConfigs)
register(CONF)
compose_once()

# What was typed for each job that ran in this process, and its exit code.
_jobs: list[tuple[str, int]] = []
# Where those jobs delivered to: in a sweep, no job may replace what another one delivered.
_outputs: list[Path] = []


def main() -> int:
    """Runs the command line and returns the exit code that pipeline/errors.py promises."""
    _jobs.clear()
    _outputs.clear()
    # Imports and exporters make millions of objects that live until their stage ends; going through them again and
    # again, as Python does by default, took a tenth of a cold run.
    gc.set_threshold(50_000, 20, 50)
    # What `python -m` does, for the console script too; last, so that nothing of the user's shadows our own.
    if str(Path.cwd()) not in sys.path and "" not in sys.path:
        sys.path.append(str(Path.cwd()))
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    try:
        _refuse_missing_folders()
        with _environ(HYDRA_FULL_ERROR="1"), _sigterm_interrupts():
            _hydra_entry()
    except KeyboardInterrupt:
        return errors.INTERRUPTED
    except (HydraException, OmegaConfBaseException, YAMLError) as e:
        if wants_traceback:
            traceback.print_exc()
        return _show(complaints.of_hydra(e, CONF))
    except DrydockError as e:
        return _show(e)
    except OSError as e:  # Hydra makes the run folder before any code of ours runs
        place = f" in {e.filename}" if e.filename else ""
        return _show(
            ConfigError(f"the run folder cannot be made{place}: {e.strerror}", command="hydra.run.dir=/a/folder")
        )
    if len(_jobs) < 2:
        return max((code for _, code in _jobs), default=errors.OK)
    failed = [f"  exit code {code}: {overrides}" for overrides, code in _jobs if code]
    print(f"{len(_jobs)} jobs, {len(failed)} failed", *failed, sep="\n", file=sys.stderr)
    return errors.SWEEP_FAILED if failed else errors.OK


def entry() -> NoReturn:
    """The command itself: main, and out.

    After a single job the process ends at once. Taking torch and the converters apart piece by piece costs up to two
    seconds, and a destructor that crashes then would turn a finished run into a failed one. A sweep ends the usual way,
    since launchers clean up behind themselves at exit.
    """
    code = main()
    if len(_jobs) != 1:
        raise SystemExit(code)
    logging.shutdown()
    with contextlib.suppress(OSError):  # whoever read our output may have gone away
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _refuse_missing_folders() -> None:
    missing = [f for f in os.environ.get("DRYDOCK_CONF", "").split(":") if f and not Path(f).is_dir()]
    if missing:
        raise ConfigError(f"DRYDOCK_CONF names {errors.listed(missing)}, which is no folder")


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def _hydra_entry(cfg: DictConfig) -> int:
    """One job. Never raises but for an interruption, so that one failed job cannot end a sweep."""
    code = errors.BUG
    try:
        logging.captureWarnings(True)  # vendors' warnings belong in the log file; stages tell those that matter
        with _stdout_for_the_result() as say:
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
    config = _resolved(cfg)
    nodes = _checked_graph(config)
    output = Path(hydra.utils.to_absolute_path(config["output"]))
    store = Store(_store_folder(config["store"]))
    world = ThisMachine(store.root / "facts", may_fetch=not config["plan"])
    delivery.refuse(output, store.root, _outputs)
    if config["plan"]:
        say(plan_table(plan.make(plan.settle(nodes, world), store, world, damaged=set(), explain=True)))
        return errors.OK
    delivery.check(output)
    _outputs.append(output)
    hydra_config = HydraConfig.get()
    overrides, choices = list(hydra_config.overrides.task), dict(hydra_config.runtime.choices)
    manifest = RunManifest(_run_folder() / "run.json", config, overrides, choices)
    console = Console(BEGAN if HydraConfig.get().mode is RunMode.RUN else time.perf_counter())
    log.info("drydock  %s → %s  %s", config["model"]["name"], config["target"]["name"], config["precision"]["name"])
    try:
        result = Runner(nodes, store, world, output, _Both(console, manifest)).run()
    except DrydockError as e:
        manifest.fail(e, e.exit_code)
        raise
    except KeyboardInterrupt:
        manifest.fail(None, errors.INTERRUPTED)
        raise
    finally:
        console.close()
    manifest.finish(result)
    console.summary(result, manifest.path)
    if result.delivered is not None:
        say(str(result.delivered))
    return errors.OK


def _checked_graph(config: dict[str, Any]) -> list[graph.Node]:
    """The stages in order, with everything checked that can be without any work. Raises DrydockError."""
    stages: dict[str, Stage] = {}
    problems: list[Problem] = []
    for name, settings in config["stages"].items():
        try:
            stages[name] = build_stage(f"stages.{name}", settings)
        except ConfigError as e:
            problems += e.problems
    target = config["target"]
    if target["pinned"] not in (None, target["route"]):
        problems.append(
            Problem(
                f"target={target['name']} says its route, and route is {target['route']}",
                allowed=f"route={target['pinned']}",
                command=f"target={target['name'].removesuffix('_' + target['pinned'])} route={target['route']}",
            )
        )
    if config["opset"] is not None and not any(hasattr(stage, "opset") for stage in stages.values()):
        problems.append(
            Problem(
                f"opset is {config['opset']}, and no stage of this graph writes ONNX by an opset",
                allowed="null: a direct route has no graph, and a file has its own opset",
                command="the same command without opset, or, of a module, route=onnx",
            )
        )
    if problems:
        raise ConfigError(problems)
    needs = {name: config["stages"][name].get("needs") or () for name in stages}
    nodes = graph.build(stages, {name: [n] if isinstance(n, str) else n for name, n in needs.items()})
    plan.check(nodes)
    for name in graph.unused(nodes):
        log.warning("stages.%s: nothing uses what it makes; 'stages.save.needs=[%s]' would deliver it", name, name)
    return nodes


class _Both:
    """The console and the manifest as one listener."""

    def __init__(self, console: Console, manifest: RunManifest) -> None:
        self._console, self._manifest = console, manifest

    def planned(self, steps: Sequence[Step]) -> None:
        self._manifest.planned(steps)
        self._console.planned(steps)

    def started(self, name: str) -> None:
        self._console.started(name)

    def finished(self, outcome: Outcome) -> None:
        self._manifest.stage(outcome)
        self._console.finished(outcome)


def _resolved(cfg: DictConfig) -> dict[str, Any]:
    """The configuration as plain values. Raises ConfigError with every key and value that is unknown or missing."""
    known = [f.name for f in dataclasses.fields(Root)]
    if unknown := [str(k) for k in cfg if k not in known]:
        raise ConfigError([complaints.no_such_key(k, known, CONF) for k in unknown])
    if missing := list(_missing(OmegaConf.to_container(cfg, resolve=False), "")):
        raise ConfigError([Problem(f"{m} has no value", command=f"{m}=VALUE") for m in missing])
    try:
        plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True, enum_to_str=True)
    except OmegaConfBaseException as e:
        raise complaints.of_hydra(e, CONF) from e
    assert isinstance(plain, dict)
    return {str(k): v for k, v in plain.items()}


def _missing(value: Any, place: str) -> Iterator[str]:
    """The places that still hold ???. OmegaConf.missing_keys resolves everything on the way, ten times as slowly."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _missing(item, f"{place}.{name}".lstrip("."))
    elif value == "???":
        yield place


def _store_folder(configured: str | None) -> Path:
    if configured:
        return Path(hydra.utils.to_absolute_path(str(Path(configured).expanduser())))
    if from_environment := os.environ.get("DRYDOCK_STORE"):
        return Path(from_environment).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "drydock"


def _run_folder() -> Path:
    return Path(HydraConfig.get().runtime.output_dir)


def _report(error: DrydockError) -> int:
    """Shows what went wrong in a job; the traceback goes to the log file alone."""
    trace.error("the run ended here", exc_info=error)
    for problem in error.problems:
        log.error("error: %s", problem)
    log.error("log: %s", _run_folder() / "pipeline.log")
    return error.exit_code


def _show(error: DrydockError) -> int:
    """Shows an error that came before there was a log."""
    for problem in error.problems:
        print(f"error: {problem}", file=sys.stderr)
    return error.exit_code


@contextlib.contextmanager
def _stdout_for_the_result() -> Iterator[Any]:
    """Sends what is written to stdout, by native libraries too, to stderr; gives a function that still reaches it."""
    sys.stdout.flush()
    real = os.dup(1)
    os.dup2(2, 1)

    def say(text: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # whoever asked has gone away
            os.write(real, f"{text}\n".encode())

    try:
        yield say
    finally:
        sys.stdout.flush()
        os.dup2(real, 1)
        os.close(real)


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


@contextlib.contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """A scheduler's SIGTERM ends a run as Ctrl-C does: nothing half-written, exit code 130."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
