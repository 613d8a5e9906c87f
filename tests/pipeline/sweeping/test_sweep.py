"""pipeline/sweeping/sweep.py and pipeline/runs/jobs.py: order, outcomes by files, and launchers that give up."""

from __future__ import annotations

import json
import shlex

import pytest
from omegaconf import OmegaConf

from pipeline.errors import ConfigError
from pipeline.runs.jobs import Job, State, Sweep, number_in, table
from pipeline.sweeping import sweep as sweeps
from pipeline.sweeping.sweep import axes_of, ordered


@pytest.fixture
def six(tmp_path):
    jobs = [Job(n, f"{n}-net", [f"opset={n}"]) for n in range(6)]
    sweep = Sweep(tmp_path, jobs)
    sweep.begin({"opset": [str(n) for n in range(6)]})
    return sweep


class Worker:
    """A launcher whose jobs leave the run.json that `does` says, or bring it down: two run at a time.

    Args:
        root: The sweep's folder.
        does: For each job's number "ok", "failed", "crash" (it has begun) or "refuse" (it cannot begin).
    """

    def __init__(self, root, does):
        self.root, self.does, self.launched = root, does, []

    def launch(self, job_overrides, initial_job_idx):
        folders = [shlex.split(o[-1].partition("=")[2])[0] for o in job_overrides]
        numbers = [int(f.partition("-")[0]) for f in folders]
        self.launched.append(numbers)
        for first in range(0, len(numbers), 2):
            pair = numbers[first : first + 2]
            if "refuse" in [self.does[n] for n in pair]:
                raise OSError("no such cluster")
            crashed = "crash" in [self.does[n] for n in pair]
            for n in pair:
                self.leave(n, "running" if crashed else self.does[n])
            if crashed:
                raise RuntimeError("a worker ended")
        return [None] * len(numbers)

    def leave(self, number, status):
        folder = self.root / f"{number}-net"
        folder.mkdir(exist_ok=True)
        more = {"exit_code": 3, "problems": [{"what": "load: no"}]} if status == "failed" else {}
        (folder / "run.json").write_text(json.dumps({"status": status, "stage": "load", **more}))


def launch(six, does, jobs=None):
    worker = Worker(six.root, does)
    sweeps._launch(six, six.jobs if jobs is None else jobs, worker)
    return worker.launched, [six.outcome(job).state for job in six.jobs]


OK, FAILED, LOST, NOT_RUN = State.OK, State.FAILED, State.LOST, State.NOT_RUN
CASES = {
    "all well": (["ok"] * 6, [[0, 1, 2, 3, 4, 5]], [OK] * 6),
    "one fails": (["ok", "failed", *["ok"] * 4], [[0, 1, 2, 3, 4, 5]], [OK, FAILED, OK, OK, OK, OK]),
    "a crash takes its neighbour along, which then runs alone": (
        ["ok", "ok", "crash", "ok", "ok", "ok"],
        [[0, 1, 2, 3, 4, 5], [4, 5], [2], [3]],
        [OK, OK, LOST, OK, OK, OK],
    ),
    "two crashes": (
        ["crash", "ok", "ok", "ok", "ok", "crash"],
        [[0, 1, 2, 3, 4, 5], [2, 3, 4, 5], [4], [5], [0], [1]],
        [LOST, OK, OK, OK, OK, LOST],
    ),
    "one cannot even begin": (
        ["refuse", *["ok"] * 5],
        [[0, 1, 2, 3, 4, 5], [0], [1], [2], [3], [4], [5]],
        [FAILED, OK, OK, OK, OK, OK],
    ),
    "none can begin": (["refuse"] * 6, [[0, 1, 2, 3, 4, 5], [0], [1]], [FAILED, *[NOT_RUN] * 5]),
}


@pytest.mark.parametrize("case", CASES)
def test_every_job_has_its_chance_whatever_brings_the_launcher_down(six, case):
    does, launched, states = CASES[case]
    assert launch(six, does) == (launched, states)
    assert six.lost == {number for number, state in enumerate(states) if state is LOST}


def test_the_table_says_where_and_why_and_how_to_repeat_each_that_did_not_end_well(six):
    launch(six, ["ok", "failed", "crash", "crash", "ok", "ok"])
    six.refuse(six.jobs[5], ConfigError("opset is 99", allowed="18 to 26"))
    lines = table([six.outcome(job) for job in six.jobs], ["-m", "opset=range(6)"])
    assert lines.splitlines() == [
        "6 jobs: 2 ok, 2 failed, 2 lost",
        "job  state       where  why",
        "1    failed (3)  load   no",
        "     again: python -m pipeline opset=1",
        "2    lost        load   its process ended without a result: a crash, or out of memory",
        "     again: python -m pipeline opset=2",
        "3    lost        load   its process ended without a result: a crash, or out of memory",
        "     again: python -m pipeline opset=3",
        "5    failed (2)  -      opset is 99",
        "     again: python -m pipeline opset=5",
    ]


def test_why_no_job_ran_is_in_the_table(six):
    launch(six, ["refuse"] * 6)
    assert "OSError: no such cluster" in table([six.outcome(six.jobs[3])], ())


@pytest.mark.parametrize(("interrupted", "state"), [(False, State.LOST), (True, State.INTERRUPTED)])
def test_a_job_that_still_runs_when_the_sweep_ends(six, interrupted, state):
    Worker(six.root, []).leave(0, "running")
    assert six.outcome(six.jobs[0], interrupted=interrupted).state is state


def test_what_an_earlier_sweep_left_in_the_same_folder_is_not_this_ones(six):
    Worker(six.root, []).leave(0, "ok")
    six.begin({})
    assert six.outcome(six.jobs[0]).state is NOT_RUN


def test_what_jobs_of_a_launcher_delivered_is_printed_in_their_order(six):
    launch(six, ["ok", "failed", "ok", "crash", "ok", "ok"])
    for number in (4, 0):
        path = six.record(six.jobs[number])
        path.write_text(json.dumps(json.loads(path.read_text()) | {"artifact": f"/there/{number}.onnx"}))
    printed: list[str] = []
    sweeps._print_delivered(six, six.jobs, printed.append)
    assert printed == ["/there/0.onnx", "/there/4.onnx"]


def test_a_job_finds_its_number_by_its_folder(six):
    assert [number_in(six.root, folder) for folder in ("4-net", "elsewhere")] == [4, None]
    assert number_in(six.root / "nowhere", "4-net") is None


# Two models, each for two opsets in two precisions, as their stages: load, export, compile.
GRID = [(m, f"{m}{o}", f"{m}{o}{p}") for o in "xy" for p in "12" for m in "AB"]


@pytest.mark.parametrize(
    ("together", "order"),
    [
        (True, "Ax1 Ax2 Ay1 Ay2 Bx1 Bx2 By1 By2"),
        (False, "Ax1 Bx1 Ay1 By1 Ax2 Bx2 Ay2 By2"),
    ],
)
def test_jobs_that_share_follow_each_other_in_one_process_and_come_after_what_they_share_in_several(together, order):
    names = [GRID[i][-1] for i in ordered(GRID, together=together)]
    assert names == order.split()


def test_jobs_that_share_nothing_or_are_unknown_keep_the_order_typed():
    assert ordered([["a"], [], ["b"], ["c"]], together=True) == [0, 1, 2, 3]
    assert ordered([["a"], ["b"], ["c"]], together=False) == [0, 1, 2]


def test_axes_are_what_has_more_than_one_value_as_typed():
    grid = [["model=a", "opset=20", "+x=1"], ["model=a", "opset=18", "+x=1"], ["model=a", "opset=20", "+x=2"]]
    assert list(axes_of(grid).items()) == [("opset", ["20", "18"]), ("+x", ["1", "2"])]


def test_a_sweep_that_comes_to_no_job_is_refused_with_what_has_no_value():
    overrides = {
        "sweeper": {"params": {"opset": "range(18,18)"}},
        "overrides": {"task": ["seed=range(3,3)", "target=onnx"]},
    }
    with pytest.raises(ConfigError, match=r"comes to no job: opset=range\(18,18\), seed=range\(3,3\) has no value"):
        sweeps.run([], OmegaConf.create({"hydra": overrides}), None, None, None)
