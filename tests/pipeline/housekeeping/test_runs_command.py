"""`python -m pipeline.runs`: past runs are listed, compared and removed; what is not a run's stays."""

import json
import os
import time
from datetime import UTC, datetime, timedelta

import pytest
from command_line import run_light
from fake_sweep import FakeSweep, finished

from pipeline.errors import StageError
from pipeline.runs.jobs import Job, Sweep
from pipeline.runs.manifest import RunManifest
from pipeline.store.files import write_json
from tests.pipeline.conftest import child

CONFIG = {"seed": 0, "model": {"name": "net"}, "target": {"name": "onnx"}, "precision": {"name": "fp32"}}


@pytest.fixture
def run(tmp_path):
    def run(*args):
        done = run_light("pipeline.runs", [*map(str, args)], tmp_path)
        assert "Traceback" not in done.stderr
        return done

    return run


def ran(folder, *, days=0.0, opset=18, error=1e-7, size=1000, end="ok"):
    """A run that ended so many days ago."""
    manifest = RunManifest(folder / "run.json", [f"opset={opset}"], {"model": "net", "target": "onnx"})
    manifest.note_configuration({**CONFIG, "opset": opset, "stages": {"export": {"opset": opset}}}, None)
    if end == "ok":
        manifest.finish(finished("built", str(opset), str(opset), error, size=size))
    elif end == "failed":
        manifest.fail(StageError("export: no"), 3)
    content = json.loads((folder / "run.json").read_text())
    then = (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="seconds")
    write_json(folder / "run.json", {**content, "started": then, **({"ended": then} if end != "lost" else {})})
    (folder / "pipeline.log").write_text("log")
    (folder / "artifact").mkdir()
    (folder / "artifact" / "net.onnx").write_text("graph")
    (folder / "artifact" / "artifact.json").write_text('{"files": ["net.onnx"]}')
    return manifest


def test_list_says_what_became_of_each_the_oldest_first(run, tmp_path):
    ran(tmp_path / "runs" / "day" / "2-b", days=1)
    ran(tmp_path / "runs" / "day" / "1-a", days=2, end="failed")
    sweep = FakeSweep(tmp_path / "sweeps" / "day" / "9")
    sweep.job("opset=18").only_planned()
    sweep.skip("opset=20")
    sweep.listed()
    lines = run("list").stdout.splitlines()
    assert [line.split()[2:4] for line in lines] == [["failed", "3"], ["ok", "net"], ["1", "planned,"]]
    assert lines[0].split()[-1] == "runs/day/1-a"
    listed = json.loads(run("list", "--json", "runs").stdout)
    assert [(one["status"], one["exit_code"], one["folder"]) for one in listed] == [
        ("failed", 3, "runs/day/1-a"),
        ("ok", 0, "runs/day/2-b"),
    ]
    assert run("list", "nowhere").returncode == 2


def test_compare_says_what_separates_two_and_not_the_same_twice(run, tmp_path):
    ran(tmp_path / "a", opset=18)
    ran(tmp_path / "b", opset=20, error=3e-6, size=2048)
    lines = run("compare", "a", "b").stdout.splitlines()
    assert "settings  opset: 18 → 20" in lines
    assert not any("stages.export.opset" in line for line in lines)
    assert {"measured  error: 1.0e-07 → 3.0e-06", "measured  size: 1000 B → 2.0 KiB"} <= {*lines}
    assert any(line.startswith("results   export: bytes: ") for line in lines)
    changes = json.loads(run("compare", "a/run.json", "b", "--json").stdout)["changes"]
    assert {"what": "settings", "place": "opset", "a": "18", "b": "20"} in changes
    assert run("compare", "a", "a").stdout.endswith("no difference in what is recorded\n")
    assert run("compare", "a", "nowhere").returncode == 2


def test_remove_takes_old_runs_whole_and_leaves_the_latest(run, tmp_path):
    for n in range(4):
        ran(tmp_path / "runs" / f"2026-01-0{n + 1}" / "run", days=40 - n)
    assert run("remove").returncode == 2
    assert run("remove", "--older", "30d", "--keep", "2", "--dry-run").stdout.count(" ok ") == 2
    assert run("remove", "--older", "30d", "--keep", "2").stdout.startswith("removed 2 runs and sweeps; ")
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["2026-01-03", "2026-01-04"]
    assert run("remove", "runs/2026-01-03/run").returncode == 0
    assert run("remove", "--older", "50d").stdout.startswith("removed 0 ")
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["2026-01-04"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda f: (f / "notes.txt").write_text("mine"),
        lambda f: (f / "artifact" / "mine.txt").write_text("mine"),
        lambda f: ((f / "pipeline.log").unlink(), (f / ".hydra").mkdir(), (f / ".hydra" / "mine").touch()),
        lambda f: ((f / "more").mkdir(), (f / "more" / "mine").touch()),
        lambda f: ((f / "artifact").rename(f.parent / "kept"), (f / "artifact").symlink_to(f.parent / "kept")),
        lambda f: (f / "artifact" / "artifact.json").unlink(),
    ],
)
def test_a_folder_with_something_else_in_it_stays_as_it_is(run, tmp_path, spoil):
    ran(tmp_path / "runs" / "1", days=40)
    spoil(tmp_path / "runs" / "1")
    before = sorted(p for p in tmp_path.rglob("*"))
    done = run("remove", "--older", "30d")
    assert (done.returncode, done.stdout) == (0, "removed 0 runs and sweeps; 0 B freed\n")
    assert "which no run wrote" in done.stderr
    assert sorted(p for p in tmp_path.rglob("*")) == before


def test_links_are_not_followed_and_what_is_no_run_of_ours_is_not_one(run, tmp_path):
    ran(tmp_path / "elsewhere" / "1", days=40)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "runs" / "other").mkdir()
    (tmp_path / "runs" / "other" / "run.json").write_text('{"status": "ok"}')
    assert run("remove", "--older", "0s").stdout == "removed 0 runs and sweeps; 0 B freed\n"
    assert (tmp_path / "elsewhere" / "1" / "run.json").exists()
    assert (tmp_path / "runs" / "other" / "run.json").exists()


def test_a_run_that_goes_on_stays_and_one_that_was_killed_does_not(run, tmp_path):
    manifest = ran(tmp_path / "runs" / "1", days=40, end="lost")
    assert "running" in run("list").stdout
    done = run("remove", "--older", "30d")
    assert "runs/1 stays: it still runs" in done.stderr
    assert (tmp_path / "runs" / "1" / "run.json").exists()
    manifest.only_planned()
    process = child(lambda: (ran(tmp_path / "runs" / "2", days=40, end="lost"), os._exit(9)))
    process.start()
    process.join()
    assert "lost" in run("list").stdout
    run("remove", "runs/2")
    assert not (tmp_path / "runs" / "2").exists()


def test_a_run_of_another_machine_counts_as_going_on_for_a_week(run, tmp_path):
    ran(tmp_path / "runs" / "1", days=40, end="lost").only_planned()
    file = tmp_path / "runs" / "1" / "run.json"
    content = json.loads(file.read_text())
    write_json(file, {**content, "status": "running", "machine": {"host": "another"}})
    assert "running" in run("list").stdout
    os.utime(file, (0, time.time() - 8 * 86400))
    assert "lost" in run("list").stdout


def test_a_sweep_goes_as_a_whole_once_it_is_over(run, tmp_path):
    root = tmp_path / "sweeps" / "2026-01-01" / "1"
    sweep = Sweep(root, [Job(n, f"{n}-net", []) for n in range(2)])
    root.mkdir(parents=True)
    sweep.begin({})
    ran(root / "0-net", days=40)
    assert "stays: it still runs" in run("remove", "--older", "30d").stderr
    os.close(sweep._lock)
    (root / "0-net" / "mine").write_text("")
    assert "0-net/mine in it" in run("remove", "--older", "30d").stderr
    (root / "0-net" / "mine").unlink()
    assert run("remove", "--older", "30d").stdout.startswith("removed 1 runs and sweeps")
    assert list((tmp_path / "sweeps").iterdir()) == []


def test_names_that_begin_with_a_dash_are_names_after_two(run, tmp_path):
    ran(tmp_path / "-x")
    assert run("compare", "--", "-x", "-x").returncode == 0
    assert run("remove", "--", "-x").returncode == 0
    assert not (tmp_path / "-x").exists()
