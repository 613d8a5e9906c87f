"""Logs runs and sweeps to MLflow, as a callback of Hydra's; off unless `hydra/callbacks=mlflow` is typed.

    job ends ─► run.json ─► one MLflow run, tagged with its sweep ─┐
    sweep ends ──────────────────────────────────────► a run above them

Each job is logged by the process that ran it, and a tag connects the jobs of a sweep, so it does not matter where jobs
run. An interrupted sweep leaves finished runs, and none that seems to go on. A run's result never depends on the
logging: an error is reported in one line.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from pipeline.config import compose
from pipeline.errors import OK, BackendMissing
from pipeline.machine.installed import how_to_install
from pipeline.machine.world import is_installed
from pipeline.printable import tell
from pipeline.report.collect import collect
from pipeline.report.job import Job, ended, measured, outcomes
from pipeline.report.measures import MEASURES
from pipeline.runs.folders import RUN, read_run
from pipeline.store.store import FACTS
from pipeline.terminal.command import stdout_for_the_result

LOG = "pipeline.log"  # as conf/hydra/job_logging calls it

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARENT, SWEEP = "mlflow.parentRunId", "drydock.sweep"
AT_ONCE = 100  # parameters that MLflow takes in one call
EVERY_RUN = 50_000  # the most that it returns of a search


@dataclass(frozen=True)
class Mlflow(Callback):
    """The callback.

    Args:
        tracking_uri: A folder, or an address that the installed MLflow opens.
        experiment: The experiment's name; created if it does not exist.
        artifacts: Whether the delivered files are logged too.

    Raises:
        BackendMissing: When MLflow is not installed. Hydra makes its callbacks before any job.
    """

    tracking_uri: str
    experiment: str
    artifacts: bool

    def __post_init__(self) -> None:
        if not is_installed("mlflow"):
            raise BackendMissing(
                "mlflow is not installed (for hydra/callbacks=mlflow)", command=how_to_install("mlflow")
            )
        if not urlparse(self.tracking_uri).scheme:  # jobs may run in another folder
            object.__setattr__(self, "tracking_uri", Path(self.tracking_uri).expanduser().absolute().as_uri())

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Creates the experiment before any job, so that jobs that begin together do not create several."""
        if not config.plan:
            with self._logging():
                self._experiment(self._client())

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Logs one job, whether it succeeded or not; nothing for a plan."""
        if not config.plan:
            with self._logging():
                # Its property raises the job's own exception, and prints to stderr.
                self._log_job(config, failed=job_return._return_value != OK)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Logs the sweep, and nests its jobs' runs under it."""
        if not config.plan:
            with self._logging():
                self._log_sweep(_sweep_folder(config))

    def _log_job(self, config: DictConfig, *, failed: bool) -> None:
        folder = Path(config.hydra.runtime.output_dir)
        overrides = tuple(compose.typed(config.hydra))
        run = read_run(folder)
        story = (ended(run) if run else {}) | {"status": "failed" if failed else "ok"}
        job = Job(0, str(folder), overrides, {}, **story, **(measured(outcomes(run)) if run else {}))
        sweep = {SWEEP: str(_sweep_folder(config))} if config.hydra.mode is RunMode.MULTIRUN else {}
        client = self._client()
        began = client.create_run(
            self._experiment(client),
            start_time=_at(run, "started"),
            tags=_tags(job, run or {}) | sweep,
            run_name=folder.name,
        ).info.run_id
        try:
            _log(client, began, _parameters(config.hydra.runtime.choices, job, run), _metrics(job))
            for path in _files(folder, run, whole=self.artifacts):
                if path.is_dir():
                    client.log_artifacts(began, str(path), "artifact")
                else:
                    client.log_artifact(began, str(path))
        finally:  # mark it as ended, whatever happened to the rest
            client.set_terminated(began, "FAILED" if failed else "FINISHED", _at(run, "ended"))

    def _log_sweep(self, folder: Path) -> None:
        client = self._client()
        experiment = self._experiment(client)
        tagged = client.search_runs([experiment], f'tags.`{SWEEP}` = "{folder}"', max_results=EVERY_RUN)
        jobs = [run for run in tagged if PARENT not in run.data.tags]
        if not jobs:
            return
        sweep = collect(folder)
        failed = sum(not job.went_well for job in sweep.jobs)
        parent = client.create_run(
            experiment,
            start_time=min(run.info.start_time for run in jobs),
            tags={SWEEP: str(folder), "drydock.version": sweep.drydock},
            run_name="/".join(folder.parts[-2:]),
        ).info.run_id
        axes = {_name(axis): ",".join(values) for axis, values in sweep.axes.items()}
        _log(client, parent, axes, {"jobs": len(sweep.jobs), "failed": failed})
        for run in jobs:
            client.set_tag(run.info.run_id, PARENT, parent)
        client.set_terminated(parent, "FAILED" if failed else "FINISHED")

    def _client(self) -> MlflowClient:
        """MLflow's client. Raises OSError when the folder cannot be written."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        place = urlparse(self.tracking_uri)
        if place.scheme == "file":
            # MLflow no longer extends it and requires the variable. It needs no server, and several machines may
            # write to it, which a database file on a shared disk does not allow.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            _keep_out_of_git(Path(unquote(place.path)))
        from mlflow import MlflowClient

        return MlflowClient(self.tracking_uri)

    def _experiment(self, client: MlflowClient) -> str:
        existing = client.get_experiment_by_name(self.experiment)
        return str(existing.experiment_id if existing else client.create_experiment(self.experiment))

    @contextlib.contextmanager
    def _logging(self) -> Iterator[None]:
        """Keeps MLflow's output away from stdout, and its errors away from the run."""
        try:
            with stdout_for_the_result():
                yield
        except Exception as e:
            _tell_once(f"{type(e).__name__}: {e}".splitlines()[0])


def _log(client: MlflowClient, run: str, parameters: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
    from mlflow.entities import Metric, Param

    now = round(time.time() * 1000)
    rest = [Param(name, str(value)) for name, value in parameters.items()]
    client.log_batch(run, metrics=[Metric(name, value, now, 0) for name, value in metrics.items()])
    while rest:
        client.log_batch(run, params=rest[:AT_ONCE])
        rest = rest[AT_ONCE:]


def _parameters(choices: Mapping[str, Any], job: Job, run: Mapping[str, Any] | None) -> dict[str, Any]:
    """The chosen options and the overrides; a key that was removed with ~ has the value "~"."""
    unnamed = ("hydra/", "wiring/")
    parameters = {g: o for g, o in choices.items() if o is not None and "@" not in g and not g.startswith(unnamed)}
    parameters |= {name: run["config"][name] for name in ("opset", "seed") if name in run["config"]} if run else {}
    for override in job.overrides:
        key, _, value = override.lstrip("+").partition("=")
        parameters[_name(key)] = "~" if key.startswith("~") else value
    return parameters


def _metrics(job: Job) -> dict[str, float]:
    """The measured figures, by the names of sweep.json; none for a job that was refused before any work."""
    measured = {name: measure.value(job) for name, measure in MEASURES.items()}
    if job.stages:
        measured |= {"hits": job.hits, "stored": job.stored, "saved": job.saved}
    return {name: value for name, value in measured.items() if value is not None}


def _tags(job: Job, run: Mapping[str, Any]) -> dict[str, str]:
    git = run.get("git") or {}
    tags = {
        "mlflow.source.name": "drydock",
        "mlflow.source.git.commit": git.get("commit"),
        "drydock.version": run.get("drydock"),
        "drydock.changes": git.get("diff"),
        "drydock.status": job.status,
        "drydock.digest": job.digest,
        "drydock.folder": job.folder,
        "drydock.problem": job.problem,
        "drydock.unchecked": job.unchecked,
    }
    return {name: str(text) for name, text in tags.items() if text}


def _files(folder: Path, run: Mapping[str, Any] | None, *, whole: bool) -> Iterator[Path]:
    """The files of a run to log: its record and its log; all delivered files, or only their description."""
    yield from (path for path in (folder / LOG, *([folder / RUN] if run else [])) if path.is_file())
    if run and run.get("artifact"):
        delivered = Path(run["artifact"]).parent
        yield delivered if whole else delivered / FACTS


def _name(key: str) -> str:
    """A key in MLflow's spelling, without the @ of a package and without /, which would create folders there."""
    return re.sub(r"[^\w.-]", "_", key.lstrip("~"))


def _sweep_folder(config: DictConfig) -> Path:
    return Path(config.hydra.sweep.dir).absolute()


def _at(run: Mapping[str, Any] | None, moment: str) -> int | None:
    """When a run started or ended, in milliseconds. None where that is not known; MLflow then takes the present."""
    when = (run or {}).get(moment)
    return round(datetime.fromisoformat(when).timestamp() * 1000) if when else None


@functools.cache
def _tell_once(why: str) -> None:
    """Says on stderr that nothing is logged, once for all jobs of this process with the same obstacle."""
    tell(f"not logged to MLflow: {why}; try hydra.callbacks.mlflow.tracking_uri=/a/folder")


def _keep_out_of_git(folder: Path) -> None:
    """Makes the folder and hides it from git: otherwise a run in a checkout would count as one with changes."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError), (folder / ".gitignore").open("x") as f:
        f.write("*\n")
