"""A sweep: orders its jobs so that they share most work, and launches them until each has an outcome.

    compose every job ─► order ─► jobs.json ─► launch ─► read each job's run.json ─► table
                                                 ▲  └─ the launcher gave up ─┐
                                                 └── those it had not begun, then those it had, each alone

No engine: jobs are launched by Hydra's launchers and handed to them by a sweeper of Hydra's, hydra_plugins/drydock.py.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from hydra.utils import to_absolute_path
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from pipeline.config import complaints, compose
from pipeline.config.hydra_shortcuts import shared_work
from pipeline.config.wiring import CONF
from pipeline.errors import ConfigError, DrydockError, StageError, listed
from pipeline.printable import tell
from pipeline.running import isolation
from pipeline.runs.jobs import Job, State, Sweep
from pipeline.sweeping import launchers, live
from pipeline.terminal.command import Say, stdout_for_the_result

SWEEPER = "hydra_plugins.drydock.DrydockSweeper"


def refuse_others(sweeper: str) -> None:
    """Raises ConfigError for a sweeper that is not ours: nobody would hear of its jobs' failures."""
    if sweeper != SWEEPER:
        raise ConfigError(f"hydra/sweeper is {sweeper}", allowed="the one that `python -m pipeline -m` has by itself")


# The sweep that this process began, for whoever tells how it ended; Hydra hands nothing back.
begun: list[Sweep] = []


def run(
    grid: Sequence[Sequence[str]], master: DictConfig, loader: ConfigLoader, launcher: Launcher, at_once: int | None
) -> None:
    """Runs every job of a sweep; what became of them is in their files.

    Args:
        grid: The overrides of each job, as they were typed.
        master: The sweep's own configuration.
        loader: What composes a job's.
        launcher: What runs jobs.
        at_once: How many jobs are launched together at most; None for all.

    Raises:
        DrydockError: When there is no job, or none can be composed; when `select` is no rule.
        BackendMissing: When the cluster that is to run them does not answer.
        OSError: When the sweep's folder cannot be written.
    """
    if not grid:
        _refuse_nothing(master, loader)
    if master.select is not None:
        from pipeline.report.select import Rule  # here, so that no single run pays for reports

        Rule.read(master.select)  # raises, before any work, for one that says nothing
    if master.plan:
        launcher = launchers.of_this_process(launcher, master)
    launchers.refuse_unreachable(launcher)
    root = Path(master.hydra.sweep.dir).absolute()  # first: jobs take over the time that it names
    with shared_work(loader):
        composed = [_compose(loader, master, overrides) for overrides in grid]
    if all(isinstance(c, DrydockError) for c in composed):
        raise next(c for c in composed if isinstance(c, DrydockError))
    root.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(master, root / "multirun.yaml")
    here = isinstance(launcher, BasicLauncher)
    order = ordered([_chain(c) for c in composed], together=here)
    jobs, refused = _numbered([(grid[i], composed[i]) for i in order], root)
    sweep = Sweep(root, jobs, master.select, reported=not master.plan, here=here)
    begun.append(sweep)
    if here and sweep.reported:
        isolation.meanwhile[:] = [_prepare_report]
    axes = axes_of(grid)
    sweep.begin(axes)
    for job in jobs:
        if error := refused.get(job.number):
            sweep.refuse(job, error)
            tell(f"error: job {job.number} cannot run, and the others do: {error}")
    if isinstance(launcher, BasicLauncher):
        assert launcher.hydra_context is not None
        ready = {tuple(launch_overrides(job)): composed[i] for job, i in zip(jobs, order, strict=True)}
        launcher.hydra_context = HydraContext(cast("Any", _Composed(loader, ready)), launcher.hydra_context.callbacks)
    runnable = [job for job in jobs if job.number not in refused]
    size = at_once or len(runnable) or 1
    stdout = contextlib.nullcontext() if here else stdout_for_the_result()  # Ray prints there while jobs run
    with live.view(sweep, axes, here=here) as say, stdout as result, launchers.waiting_for_all(launcher):
        for first in range(0, len(runnable), size):
            group = runnable[first : first + size]
            try:
                _launch(sweep, group, launcher, say)
            finally:  # when it is interrupted too
                if result is not None:
                    _print_delivered(sweep, group, result)


def _refuse_nothing(master: DictConfig, loader: ConfigLoader) -> NoReturn:
    params = [f"{key}={value}" for key, value in (master.hydra.sweeper.params or {}).items()]
    parsed = OverridesParser.create(config_loader=loader).parse_overrides([*params, *compose.typed(master.hydra)])
    empty = [o.input_line for o in parsed if o.is_sweep_override() and not any(True for _ in o.sweep_string_iterator())]
    raise ConfigError(
        f"the sweep comes to no job: {listed(map(str, empty))} has no value",
        allowed="one value or more for each key",
        command="python -m pipeline --help shows every choice; range(18,21) is 18,19,20",
    )


def _print_delivered(sweep: Sweep, jobs: Sequence[Job], result: Say) -> None:
    """Prints the paths of what jobs delivered: a launcher's processes write to files, or lines of its own between."""
    for job in jobs:
        if path := sweep.delivered(job):
            result(path)


def _prepare_report() -> None:
    """Imports what the final report is drawn with. A failure is reported there."""
    with contextlib.suppress(Exception):
        from pipeline.report import charts

        charts.prepare()


def launch_overrides(job: Job) -> list[str]:
    """A job's overrides as its launcher gets them: its folder is what jobs.json says, whoever numbers it."""
    return [*job.overrides, f"hydra.sweep.subdir={json.dumps(job.folder, ensure_ascii=False)}"]


def ordered(chains: Sequence[Sequence[Hashable]], *, together: bool) -> list[int]:
    """The order of jobs in which shared work is done once, with the least waiting.

    Args:
        chains: For each job what its work begins with, one item for each stage: equal items are the same work.
        together: Whether one process runs all: jobs that share most follow each other then, while what they share is
            still in memory. Otherwise the jobs that bring most that is new go first, to be done side by side; those
            that wait for the same work come when it is there.

    Returns:
        Indices into `chains`; what is equal keeps its order.
    """
    pending, order, done = list(range(len(chains))), [], set[Hashable]()
    while pending:
        score = [len(done.intersection(chains[i])) - (0 if together else len(chains[i])) for i in pending]
        chosen = pending.pop(score.index(max(score) if together else min(score)))
        order.append(chosen)
        done = set(chains[chosen]) if together else done.union(chains[chosen])
    return order


def axes_of(grid: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """The keys that have more than one value, in the order typed, each with its values."""
    values: dict[str, dict[str, None]] = {}
    for key, _, value in (o.partition("=") for overrides in grid for o in overrides):
        values.setdefault(key, {})[value] = None
    return {key: list(texts) for key, texts in values.items() if len(texts) > 1}


def _compose(loader: ConfigLoader, master: DictConfig, overrides: Sequence[str]) -> DictConfig | DrydockError:
    try:
        return loader.load_sweep_config(master, list(overrides))
    except complaints.RAISED as e:
        return complaints.of_hydra(e, CONF)


def _chain(config: DictConfig | DrydockError) -> list[int]:
    """For each stage of a job, a hash of its settings and those of every stage before it."""
    if isinstance(config, DrydockError):
        return []
    with _current(config), contextlib.suppress(OmegaConfBaseException):  # the job itself will say what is wrong
        settings = OmegaConf.to_container(config.stages, resolve=True, enum_to_str=True)
        assert isinstance(settings, dict)
        texts = (json.dumps([name, value], default=str) for name, value in settings.items())
        return list(itertools.accumulate(map(hash, texts), lambda before, text: hash((before, text))))
    return []


def _numbered(
    cells: Sequence[tuple[Sequence[str], DictConfig | DrydockError]], root: Path
) -> tuple[list[Job], dict[int, DrydockError]]:
    """The jobs, each with a folder of its own, and by number why those that cannot run cannot."""
    jobs: list[Job] = []
    refused: dict[int, DrydockError] = {}
    outputs: set[Path] = set()
    for number, (overrides, config) in enumerate(cells):
        folder = str(number)
        if isinstance(config, DrydockError):
            refused[number] = config
        else:
            with _current(config, number):
                folder = config.hydra.sweep.subdir
            if folder in {job.folder for job in jobs}:
                folder = f"{folder}-{number}"
            config.hydra.sweep.subdir = folder
            with open_dict(config):
                config.hydra.runtime.output_dir = str(root / folder)
            with _current(config, number):
                output = Path(to_absolute_path(config.output))
            if output in outputs:
                refused[number] = ConfigError(
                    f"output={output} is the same for several jobs of this sweep",
                    allowed="a folder for each job, as the default is",
                    command=f"'output={output}/${{hydra:job.num}}'",
                )
            outputs.add(output)
        jobs.append(Job(number, folder, list(overrides)))
    return jobs, refused


@contextlib.contextmanager
def _current(config: DictConfig, number: int = 0) -> Iterator[None]:
    """Lets ${hydra:…} mean this job's settings, as it will when the job runs."""
    before = HydraConfig.instance().cfg
    with open_dict(config):
        config.hydra.job.num = number
    HydraConfig.instance().cfg = cast("Any", config)  # set_config would copy it, which takes longer than all else here
    try:
        yield
    finally:
        HydraConfig.instance().cfg = before


class _Composed:
    """A ConfigLoader for a launcher in this process: composing takes longest of all that a finished job still costs.

    Args:
        loader: What composes the rest.
        ready: Configurations by their overrides, each to be used once.
    """

    def __init__(self, loader: ConfigLoader, ready: dict[tuple[str, ...], Any]) -> None:
        self._loader, self._ready = loader, ready

    def load_sweep_config(self, master: DictConfig, overrides: list[str]) -> Any:
        return self._ready.pop(tuple(overrides), None) or self._loader.load_sweep_config(master, overrides)


def _launch(sweep: Sweep, jobs: Sequence[Job], launcher: Launcher, say: live.Say = live.say) -> None:
    """Launches jobs until each has had its chance, and says when a launcher gives up.

    A launcher that gives up takes along what it was running: one of those jobs brought it down, and the others did
    nothing wrong. So what it had not begun is launched again, and what it had begun comes last, each job alone.
    """
    groups, last = [list(jobs)], ""
    while groups:
        if not (group := groups.pop(0)):
            continue
        answers: Sequence[Any]
        gave_up = ""
        try:
            answers = launcher.launch([launch_overrides(job) for job in group], initial_job_idx=group[0].number)
        except Exception as e:  # launchers raise anything
            answers, gave_up = [e] * len(group), type(e).__name__
        became = [(job, answer, sweep.outcome(job).state) for job, answer in zip(group, answers, strict=True)]
        begun = [job for job, _, state in became if state is State.LOST]
        not_begun = [job for job, _, state in became if state is State.NOT_RUN]
        if gave_up and len(group) > 1:
            again = f"{len(not_begun)} jobs that had not begun are launched again, {len(begun)} that had each alone"
            say(f"the launcher gave up ({gave_up}): {again}")
            for job in begun:
                sweep.forget(job)
            groups[:0] = [
                *([not_begun] if len(not_begun) < len(group) else [[job] for job in not_begun]),
                *([job] for job in begun),
            ]
            continue
        sweep.lost.update(job.number for job in begun)
        if not_begun and gave_up and gave_up == last:  # no job gets as far as to begin, so it is not the jobs
            sweep.gave_up = _first_line(answers[0])
            return
        for job, answer, state in became:
            if state is State.NOT_RUN and isinstance(answer, Exception):
                sweep.refuse(job, StageError(f"its launcher failed with {_first_line(answer)}"))
        last = gave_up if not_begun else ""


def _first_line(error: object) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[0]}"
