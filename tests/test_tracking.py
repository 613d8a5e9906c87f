"""pipeline/tracking.py: real runs, and what the real MLflow then says of them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
from command_line import SHOP, Shop
from harness import backend

from pipeline.report.job import measured, outcomes
from pipeline.report.measures import MEASURES

TINY = (
    "model=custom",
    "model.factory=net.Net",
    "model.weights=random",
    "model.inputs.input.shape=[batch,3,16,16]",
    "target=onnx",
)
ON = "hydra/callbacks=mlflow"
PROBLEM_TAG = "drydock.problem"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A folder that all tests here log from, each to a folder of its own."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "net.py").write_bytes((SHOP / "net.py").read_bytes())
    return Shop(folder)


def track(shop: Shop, to: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return shop.run(*_typed(to, *args))


def _typed(to: Path, *args: str) -> list[str]:
    """The options of a command that logs to a place."""
    flags = [a for a in args if a == "-m"]
    rest = [a for a in args if a != "-m"]
    return [*flags, ON, f"hydra.callbacks.mlflow.tracking_uri={to}", *TINY, *rest]


def logged(folder: Path, experiment: str = "drydock") -> dict[str, Any]:
    """The content of MLflow, by name."""
    backend("mlflow")
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ALLOW_FILE_STORE": "true"}
    from mlflow import MlflowClient

    client = MlflowClient(folder.as_uri())
    experiment_found = client.get_experiment_by_name(experiment)
    return (
        {run.info.run_name: run for run in client.search_runs([experiment_found.experiment_id])}
        if experiment_found
        else {}
    )


def files(run: Any) -> dict[str, bytes]:
    root = Path(urlparse(run.info.artifact_uri).path)
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def figures(record: Mapping[str, Any]) -> dict[str, float]:
    """The measures of a run.json that it has a value for."""
    measures_found = measured(outcomes(record))
    return {
        name: measures_found[name]
        for name in (*MEASURES, "hits", "stored", "saved")
        if measures_found.get(name) is not None
    }


def test_a_run_is_logged_as_its_record_tells_it(shop: Shop, tmp_path: Path) -> None:
    backend("mlflow")
    done = track(shop, tmp_path, "opset=19", "~stages.simplify", "~stages.check_simplify")
    assert (done.returncode, done.stderr.count("MLflow")) == (0, 0), done.stderr
    (delivered,) = map(Path, done.stdout.splitlines())
    folder = delivered.parents[1]
    ((name, run),) = logged(tmp_path).items()
    record = json.loads((folder / "run.json").read_text())
    assert (name, run.info.status) == (folder.name, "FINISHED")
    typed = {"model": "custom", "opset": "19", "seed": "0", "stages.simplify": "~", "model.weights": "random"}
    chosen = {"precision": "fp32", "target": "onnx", "capture": "auto"}
    assert run.data.params.items() >= (typed | chosen).items()
    assert run.data.metrics == figures(record)
    assert {"error", "size", "seconds"} <= run.data.metrics.keys()
    assert run.data.tags["drydock.digest"] == record["stages"][-1]["digest"]
    assert run.data.tags["drydock.status"] == "ok"
    paths = [folder / "run.json", folder / "pipeline.log", delivered.parent / "artifact.json"]
    assert files(run) == {path.name: path.read_bytes() for path in paths}


def test_what_was_delivered_is_logged_when_it_is_asked_for(shop: Shop, tmp_path: Path) -> None:
    backend("mlflow")
    done = track(
        shop, tmp_path, "hydra.callbacks.mlflow.artifacts=true", "hydra.callbacks.mlflow.experiment=mine", "output=out"
    )
    assert done.returncode == 0, done.stderr
    (run,) = logged(tmp_path, "mine").values()
    delivered = {f"artifact/{p.name}": p.read_bytes() for p in (shop.folder / "out").iterdir()}
    assert len(delivered) >= 2
    assert files(run).items() >= delivered.items()


def test_a_sweep_is_a_run_above_its_jobs(shop: Shop, tmp_path: Path) -> None:
    backend("mlflow")
    done = track(shop, tmp_path, "-m", "opset=19,99,20", "hydra.sweep.dir=sweeps/mine")
    assert done.returncode == 6, done.stderr
    runs = logged(tmp_path)
    assert runs.keys() == {"sweeps/mine", *(f"{i}-custom-onnx-opset{o}-fp32" for i, o in enumerate((19, 99, 20)))}
    above = runs.pop("sweeps/mine")
    assert (above.info.status, above.data.params) == ("FAILED", {"opset": "19,99,20"})
    assert above.data.metrics == {"jobs": 3, "failed": 1}
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {above.info.run_id}
    assert {run.data.params["opset"]: run.info.status for run in runs.values()} == {
        **dict.fromkeys(("19", "20"), "FINISHED"),
        "99": "FAILED",
    }
    for name in (n for n, run in runs.items() if run.info.status == "FINISHED"):
        record = json.loads((shop.folder / "sweeps/mine" / name / "run.json").read_text())
        assert runs[name].data.metrics == figures(record)


@pytest.mark.parametrize(
    ("override", "code", "message"),
    [
        ("opset=99", 2, "stages.capture.opset is 99"),
        ("stages.check_export.tolerance.max_rel=0", 5, "check_export: this onnx does not agree"),
    ],
)
def test_a_run_that_failed_is_logged_with_its_problem(
    shop: Shop, tmp_path: Path, override: str, code: int, message: str
) -> None:
    backend("mlflow")
    done = track(shop, tmp_path, override)
    assert done.returncode == code, done.stderr
    (run,) = logged(tmp_path).values()
    assert (run.info.status, run.data.tags["drydock.status"]) == ("FAILED", "failed")
    assert run.data.tags[PROBLEM_TAG].startswith(message)
    assert run.data.params.items() >= dict([override.split("=")]).items()


def test_a_run_that_was_refused_is_not_taken_for_an_earlier_one_in_its_folder(shop: Shop, tmp_path: Path) -> None:
    backend("mlflow")
    assert shop.run(*TINY, "hydra.run.dir=runs/same", "stages.check_export.tolerance.max_rel=0").returncode == 5
    track(shop, tmp_path, "hydra.run.dir=runs/same", "opset=99")
    (run,) = logged(tmp_path).values()
    assert run.data.tags[PROBLEM_TAG].startswith("stages.capture.opset is 99")
    assert run.data.metrics == {}


def test_a_mere_plan_is_not_logged(shop: Shop, tmp_path: Path) -> None:
    backend("mlflow")
    done = track(shop, tmp_path / "mlruns", "-m", "plan=true", "opset=19,20")
    assert (done.returncode, list(tmp_path.iterdir())) == (0, []), done.stderr


@pytest.mark.parametrize("sweep", [(), ("-m",)])
def test_what_cannot_be_logged_is_told_in_a_line_and_changes_nothing(shop: Shop, tmp_path: Path, sweep: Any) -> None:
    backend("mlflow")
    (tmp_path / "file").write_text("")
    done = track(shop, tmp_path / "file", *sweep)
    assert done.returncode == 0, done.stderr
    (delivered,) = done.stdout.splitlines()
    assert Path(delivered).is_file()
    (message,) = (line for line in done.stderr.splitlines() if "MLflow" in line)
    assert "FileExistsError" in message
    assert "try hydra.callbacks.mlflow.tracking_uri=" in message
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("sweep", [(), ("-m",)])
def test_without_mlflow_nothing_is_begun(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sweep: tuple[str, ...]
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['mlflow'] = None\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *os.environ.get("PYTHONPATH", "").split(":")]))
    place = tmp_path / "begun"
    places = (f"hydra.run.dir={place}", f"hydra.sweep.dir={place}")
    done = shop.run_anew(*_typed(tmp_path / "mlruns", *sweep, *places))  # a fork would not begin with sitecustomize
    assert (done.returncode, done.stdout) == (4, "")
    assert "mlflow is not installed" in done.stderr
    assert "pip install 'torch-drydock[mlflow]'" in done.stderr
    assert not place.exists()


def test_a_folder_of_runs_is_no_change_of_a_checkout(shop: Shop, tmp_path: Path) -> None:
    backend("mlflow")
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    done = track(shop, tmp_path / "mlruns")
    assert done.returncode == 0, done.stderr
    status = subprocess.run(["git", "status", "--porcelain"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (bool(logged(tmp_path / "mlruns")), status.stdout) == (True, "")


def test_jobs_in_processes_of_their_own_are_logged_under_their_sweep(shop: Shop, tmp_path: Path) -> None:
    backend("mlflow")
    backend("hydra_plugins.hydra_joblib_launcher")
    processes = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweep.dir=sweeps/apart")
    done = track(shop, tmp_path, "-m", "opset=19,20", *processes)
    runs = logged(tmp_path)
    above = runs.pop("sweeps/apart")
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {above.info.run_id}, done.stderr
    assert {run.data.params["opset"]: run.info.status for run in runs.values()} == dict.fromkeys(
        ("19", "20"), "FINISHED"
    )
