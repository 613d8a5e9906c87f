"""Sweeps as a person meets them: real jobs of a small model, in one process and in several."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from command_line import SHOP, Shop
from harness import backend

JOBS = {
    "a": "opset: 18",
    "b": "opset: 20",
    "c": "opset: 20\nseed: 1",
    "raises": "model: {factory: net.Raises}",
    "bad_opset": "opset: 99",
    "crashes": "model: {factory: net.Crashes}",
    "sleeps": "model: {factory: net.Sleeper}",
}
OVERRIDES = ("model=small", "target=onnx")
SWEEP = """defaults: [override /model: small, override /target: onnx]
hydra: {mode: MULTIRUN, sweeper: {params: {opset: "18,20"}}}"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A folder with a model and one experiment for each of JOBS."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "net.py").write_bytes((SHOP / "net.py").read_bytes())
    dims, inputs = "{batch: {min: 1, opt: 2, max: 8}}", "{input: {shape: [batch, 3, 16, 16]}}"
    model = f"{{name: small, factory: net.Net, weights: random, dims: {dims}, inputs: {inputs}}}\n"
    chosen = {"sweep/mine": SWEEP, **{f"experiment/{k}": v for k, v in JOBS.items()}}
    yamls = {"model/small": model, **{k: f"# @package _global_\n{v}\n" for k, v in chosen.items()}}
    for name, text in yamls.items():
        path = folder / "conf" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Shop(folder)


class Outcome:
    """The result of a sweep: the run.json of each job, by the name of its experiment."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.jobs = json.loads((root / "jobs.json").read_text())
        self.runs = {}
        for job in self.jobs["jobs"]:
            (name,) = [o.partition("=")[2] for o in job["overrides"] if o.startswith("experiment=")]
            self.runs[name] = self._run(root / job["folder"] / "run.json")

    def number(self, name: str) -> int:
        """The number of a job."""
        (number,) = [job["number"] for job in self.jobs["jobs"] if f"experiment={name}" in job["overrides"]]
        assert isinstance(number, int)
        return number

    def how(self, name: str) -> set[str]:
        return {stage["how"] for stage in self.runs[name]["stages"]}

    def built(self) -> Counter[str]:
        """How often each stage whose result is stored was built, by its key."""
        stages = [s for run in self.runs.values() for s in run.get("stages", ())]
        return Counter(s["key"] for s in stages if s["how"] == "built" and s["digest"])

    def digests(self, name: str) -> dict[str, str]:
        return {s["name"]: s["digest"] for s in self.runs[name]["stages"]}

    @staticmethod
    def _run(path: Path) -> dict[str, Any]:
        return json.loads(path.read_text()) if path.exists() else {}


def root_of(tmp_path: Path, name: str) -> str:
    return f"hydra.sweep.dir={tmp_path / name}"


@pytest.fixture(scope="module")
def basic(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A finished sweep of three jobs in one process; its store is the shop's own."""
    folder = tmp_path_factory.mktemp("basic")
    done = shop.run("-m", *OVERRIDES, "experiment=a,b,c", root_of(folder, "1"))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3
    return Outcome(folder / "1")


def test_what_jobs_share_is_built_once(basic: Outcome) -> None:
    assert set(basic.built().values()) == {1}
    assert [s["name"] for s in basic.runs["b"]["stages"] if s["how"] == "hit"][:2] == ["load", "eval"]
    assert basic.jobs["axes"] == {"experiment": ["a", "b", "c"]}
    assert {Path(basic.root / job["folder"] / "artifact").is_dir() for job in basic.jobs["jobs"]} == {True}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends processes with their parent on Linux only")
def test_a_pool_that_is_killed_leaves_no_process(shop: Shop, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    arguments = [
        "hydra/launcher=pool",
        "hydra.launcher.n_jobs=3",
        *OVERRIDES,
        f"store={tmp_path}/s",
        root_of(tmp_path, "1"),
    ]
    command = [sys.executable, "-m", "pipeline", "-m", *arguments, "experiment=a,b"]
    with subprocess.Popen(command, cwd=shop.folder, start_new_session=True, stderr=subprocess.DEVNULL) as pool:
        while not list(tmp_path.glob("1/*/run.json")) and pool.poll() is None:
            time.sleep(0.1)
        assert len(living(pool.pid)) > 3
        pool.kill()
    until = time.monotonic() + 20
    while living(pool.pid) and time.monotonic() < until:
        time.sleep(0.1)
    assert living(pool.pid) == []


def living(session: int) -> list[str]:
    """The processes of a session that are not dead."""
    pids = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, of = path.read_text().rpartition(")")[2].split()[:4]
            pids += [path.parent.name] if int(of) == session and state != "Z" else []
    return pids


@pytest.mark.slow  # test_cli has a crash that ends one job of a sweep
def test_a_crash_in_a_pool_leaves_the_other_job_alone(shop: Shop, basic: Outcome, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    arguments = (
        "hydra/launcher=pool",
        *OVERRIDES,
        f"store={tmp_path}/s",
        "experiment=crashes,a",
        root_of(tmp_path, "1"),
    )
    done = shop.run_anew("-m", *arguments)
    outcome = Outcome(tmp_path / "1")
    assert done.returncode == 6, done.stderr
    assert "2 jobs: 1 ok, 1 lost\n" in done.stderr
    assert outcome.digests("a") == basic.digests("a")
    assert outcome.runs["a"]["machine"]["threads"] == str(max(1, len(os.sched_getaffinity(0)) // 2))


@pytest.mark.slow
def test_of_six_in_a_pool_those_that_fail_and_crash_leave_the_others_alone(
    shop: Shop, basic: Outcome, tmp_path: Path
) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    command = ["-m", "hydra/launcher=pool", *OVERRIDES, f"store={tmp_path}/s"]
    done = shop.run_anew(*command, "experiment=raises,a,crashes,b,bad_opset,c", root_of(tmp_path, "1"))
    first = Outcome(tmp_path / "1")
    assert done.returncode == 6
    assert done.stdout.splitlines() == [
        str(next(tmp_path.glob(f"1/{number}-*/artifact/small.onnx"))) for number in sorted(map(first.number, "abc"))
    ]
    assert f"job {first.number('a')}  save             delivered" in done.stderr
    assert f"job {first.number('raises')}  error: load: factory net.Raises failed" in done.stderr
    rows = [line.split() for line in done.stderr.partition("6 jobs: 3 ok, 2 failed, 1 lost\n")[2].splitlines()[:7]]
    repeats = [next(word for word in row if word.startswith("experiment=")) for row in rows[2::2]]
    rows_by_repeat = {repeat: row[1:4] for repeat, row in zip(repeats, rows[1::2], strict=True)}
    assert rows_by_repeat == {
        "experiment=raises": ["failed", "(3)", "load"],
        "experiment=bad_opset": ["failed", "(2)", "-"],
        "experiment=crashes": ["lost", "load", "its"],
    }
    ends = {name: first.runs[name]["status"] for name in ("raises", "bad_opset", "crashes")}
    assert ends == {"raises": "failed", "bad_opset": "failed", "crashes": "running"}
    assert {name: first.digests(name) for name in "abc"} == {name: basic.digests(name) for name in "abc"}
    assert set(first.built().values()) == {1}
    assert {run["machine"]["threads"] for run in first.runs.values()} == {
        str(max(1, len(os.sched_getaffinity(0)) // 2))
    }

    again = shop.run_anew(*command, "experiment=bad_opset,a,b,c", root_of(tmp_path, "2"))
    second = Outcome(tmp_path / "2")
    assert again.returncode == 6
    assert [second.how(name) for name in "abc"] == [{"hit", "delivered"}] * 3


@pytest.mark.slow  # a pool, which is quick, is launched by Hydra in the same way
@pytest.mark.parametrize(("launcher", "library"), [("submitit_local", "submitit"), ("ray_local", "ray")])
def test_another_launcher_makes_the_same_builds_nothing_twice_and_is_heard_out_when_a_job_is_lost(
    shop: Shop, basic: Outcome, tmp_path: Path, launcher: str, library: str
) -> None:
    backend(library)
    command = ["-m", f"hydra/launcher={launcher}", *OVERRIDES, "experiment=crashes,a,b", f"store={tmp_path}/s"]
    done = shop.run(*command, root_of(tmp_path, "1"))
    assert done.returncode == 6, done.stderr
    assert "3 jobs: 2 ok, 1 lost\n" in done.stderr
    assert "gave up" not in done.stderr
    outcome = Outcome(tmp_path / "1")
    paths = [str(next(tmp_path.glob(f"1/{outcome.number(name)}-*/artifact/small.onnx"))) for name in "ab"]
    assert done.stdout.splitlines() == sorted(paths)
    assert [outcome.digests(name) for name in "ab"] == [basic.digests(name) for name in "ab"]
    assert set(outcome.built().values()) == {1}


@pytest.mark.slow  # as the other launchers
def test_slurm_gets_one_array_that_runs_what_this_machine_would(
    shop: Shop, basic: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend("submitit")
    # A Slurm that runs the tasks of the batch script here, one after the other, on a node that it always calls busy.
    task = (
        "SUBMITIT_EXECUTOR=slurm SLURM_JOB_ID=7$task SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=$task SLURM_NTASKS=1 "
        "SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_JOB_NUM_NODES=1 SLURM_NODEID=0 SLURM_JOB_NODELIST=here"
    )
    commands = {
        "sbatch": f"""cp "$1" {tmp_path}/script.sh
run=$(grep ^srun "$1" | sed 's/^srun .* --error [^ ]* //')
(for task in 0 1; do {task} bash -c "$run" >{tmp_path}/out$task 2>&1; done) >/dev/null 2>&1 </dev/null &
echo Submitted batch job 7""",
        "srun": "exit 0",
        "sacct": "echo 'JobID|State|NodeList'; echo '7_0|RUNNING|here'; echo '7_1|RUNNING|here'",
    }
    for name, text in commands.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    done = shop.run("-m", "hydra/launcher=slurm", *OVERRIDES, "experiment=a,b", root_of(tmp_path, "1"))
    assert done.returncode == 0, done.stderr + "".join(p.read_text() for p in tmp_path.glob("out*"))
    script = (tmp_path / "script.sh").read_text()
    for line in ("--array=0-1%2", "--cpus-per-task=8", "--mem=32GB", "--time=240", "export OMP_NUM_THREADS="):
        assert line in script
    outcome = Outcome(tmp_path / "1")
    assert [outcome.digests(name) for name in "ab"] == [basic.digests(name) for name in "ab"]
    assert outcome.built() == {}


def test_plans_need_no_launcher(shop: Shop, basic: Outcome, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    done = shop.run("-m", "hydra/launcher=pool", *OVERRIDES, "experiment=a,b", "plan=true", root_of(tmp_path, "1"))
    assert done.returncode == 0, done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines() if line.startswith("save")] == [
        ["save", "deliver"]
    ] * 2
    assert "Joblib" not in done.stderr


def test_a_launcher_that_is_not_installed_is_named_with_what_installs_it(shop: Shop) -> None:
    if importlib.util.find_spec("hydra_plugins.hydra_ray_launcher"):
        pytest.skip("ray's launcher is installed")
    done = shop.run("-m", "hydra/launcher=ray_local", *OVERRIDES, "opset=18,20")
    assert done.returncode == 4
    assert "pip install 'torch-drydock[ray]'" in done.stderr


@pytest.mark.slow  # test_cli kills single runs at several moments
def test_after_a_kill_only_what_is_missing_is_built(shop: Shop, basic: Outcome, tmp_path: Path) -> None:
    command = ["-m", *OVERRIDES, "experiment=a,b,c", f"store={tmp_path}/s"]
    killed = shop.start(*command, root_of(tmp_path, "1"))
    while not [1 for p in tmp_path.glob("1/1-*/run.json") if json.loads(p.read_text())["stage"] == "export"]:
        assert killed.poll() is None
        time.sleep(0.02)
    killed.kill()
    killed.communicate()
    assert shop.run(*command, root_of(tmp_path, "2")).returncode == 0
    first, second = Outcome(tmp_path / "1"), Outcome(tmp_path / "2")
    assert second.how("a") == {"hit", "delivered"}
    assert first.built().keys() & second.built().keys() == set()
    assert set(basic.built()) == set(first.built()) | set(second.built())


@pytest.mark.slow
def test_an_interrupted_sweep_says_what_is_finished_and_keeps_it(shop: Shop, basic: Outcome, tmp_path: Path) -> None:
    sweep = shop.start("-m", *OVERRIDES, "experiment=a,sleeps,raises", root_of(tmp_path, "1"))
    assert sweep.stderr is not None
    for line in sweep.stderr:
        if line == "asleep\n":
            break
    sweep.send_signal(signal.SIGINT)
    _, errors = sweep.communicate(timeout=60)
    assert sweep.returncode == 130
    assert "3 jobs: 1 ok, 1 interrupted, 1 not run\n" in errors
    assert "Traceback" not in errors
    assert Outcome(tmp_path / "1").runs["a"]["status"] == "ok"


def test_a_job_that_cannot_be_composed_fails_alone_and_all_of_them_at_once(shop: Shop, basic: Outcome) -> None:
    some = shop.run("-m", *OVERRIDES, "plan=true", "opset=18,abc")
    assert some.returncode == 6
    assert "2 jobs: 1 ok, 1 failed\n" in some.stderr
    assert "check_simplify" in some.stdout
    none = shop.run("-m", *OVERRIDES, "plan=true", "opset=abc,def")
    assert (none.returncode, none.stdout) == (2, "")


@pytest.mark.slow  # test_cli has it without a plan
def test_jobs_that_would_deliver_to_one_folder_are_refused_but_the_first(shop: Shop, tmp_path: Path) -> None:
    done = shop.run("-m", *OVERRIDES, "plan=true", "opset=18,20", f"output={tmp_path}/same")
    assert done.returncode == 6
    assert "the same for several jobs" in done.stderr


def test_a_sweep_in_one_process_ends_at_once_as_a_single_job_does(shop: Shop) -> None:
    (shop.folder / "watched.py").write_text(
        "import atexit\nfrom pipeline import cli\natexit.register(print, 'taken apart')\ncli.entry()\n"
    )
    process = shop.start("-m", *OVERRIDES, "experiment=a,b", "plan=true", code="watched.py")
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0
    assert "taken apart" not in out
    assert "2 jobs: 2 ok" in err


def test_another_sweeper_is_refused(shop: Shop) -> None:
    done = shop.run("-m", "hydra/sweeper=basic", *OVERRIDES, "plan=true", "opset=18,20")
    assert done.returncode == 2
    assert "hydra/sweeper" in done.stderr


def test_a_folder_of_ones_own_for_jobs_is_never_that_of_two(shop: Shop, tmp_path: Path) -> None:
    done = shop.run("-m", *OVERRIDES, "plan=true", "opset=18,20", "hydra.sweep.subdir=all", root_of(tmp_path, "1"))
    assert done.returncode == 0, done.stderr
    assert {p.parent.name for p in tmp_path.glob("1/*/run.json")} == {"all", "all-1"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sweep", "number"), [("mine", 2), pytest.param("resnet50_openvino", 9, marks=pytest.mark.slow)]
)
def test_a_committed_sweep_runs_without_m_and_one_of_its_jobs_alone(
    shop: Shop, tmp_path: Path, sweep: str, number: int
) -> None:
    done = shop.run(f"sweep={sweep}", "plan=true", root_of(tmp_path, "1"))
    assert done.returncode == 0, done.stderr
    jobs = [job["overrides"] for job in json.loads((tmp_path / "1" / "jobs.json").read_text())["jobs"]]
    assert len(jobs) == number
    alone = shop.run(*jobs[0], "hydra.mode=RUN", f"hydra.run.dir={tmp_path}/alone")
    assert alone.returncode == 0, alone.stderr
    assert json.loads((tmp_path / "alone" / "run.json").read_text())["status"] == "planned"
