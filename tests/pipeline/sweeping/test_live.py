"""pipeline/sweeping/live.py: what a sweep's files say of its jobs, as a table on a terminal and as lines elsewhere."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import pty
import re
import select
import subprocess
import sys
import termios
import threading

import pytest
from command_line import MODEL, SHOP
from rich.console import Console

from pipeline.errors import StageError
from pipeline.runs.jobs import Job, Sweep
from pipeline.runs.manifest import RunManifest
from pipeline.sweeping import live
from pipeline.sweeping.live import Row, fitting, plain, progress, row

AXES = {"opset", "precision"}
JOB = Job(3, "3-net", ["model=net", "opset=18", "precision=fp16"])
SWEPT = "opset=18 precision=fp16"
START = {"started": "2026-01-01T00:00:00+00:00"}
END = {**START, "ended": "2026-01-01T00:00:18+00:00"}
NOW = 1767225600 + 30.0  # half a minute after START


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (None, Row(3, SWEPT, "waiting")),
        ({"status": "running", "stage": None, **START}, Row(3, SWEPT, "running", seconds=30)),
        ({"status": "running", "stage": "export", **START}, Row(3, SWEPT, "running", "export", seconds=30)),
        (
            {"status": "running", "stage": None, "started": "2026-01-01T00:01:00+00:00"},
            Row(3, SWEPT, "running", seconds=0),
        ),
        ({"status": "ok", "stage": None, **END}, Row(3, SWEPT, "ok", seconds=18, ended=NOW - 12)),
        ({"status": "planned", "stage": None, **END}, Row(3, SWEPT, "ok", seconds=18, ended=NOW - 12)),
        (
            {"status": "failed", "stage": "load", "problems": [{"what": "load: no\nluck"}], **END},
            Row(3, SWEPT, "failed", "load", "no", 18, NOW - 12),
        ),
        ({"status": "interrupted", "stage": "load", **END}, Row(3, SWEPT, "interrupted", "load", "", 18, NOW - 12)),
    ],
)
def test_a_job_is_seen_as_its_record_says(record, expected):
    assert row(JOB, AXES, record, NOW) == expected


def test_a_job_that_is_known_to_be_lost_does_not_run_whatever_its_record_says(three, capsys):
    begin(three, 0).started("load")
    with live.view(three, ["opset"], here=False):
        three.lost.add(0)
    assert capsys.readouterr().err.startswith("1/3  lost  opset=0  load: its process ended without a result")


def test_a_job_of_a_sweep_without_axes_is_called_by_its_folder():
    assert row(JOB, {}, None, NOW).swept == "3-net"


def rows(*jobs):
    """Rows from what they are: "ok 18", "running 5", "waiting"; those that ended did so one after the other."""
    table = []
    for number, (state, _, seconds) in enumerate(t.partition(" ") for t in jobs):
        over = float(number) if state in ("ok", "failed", "lost") else None
        table.append(Row(number, f"opset={number}", state, seconds=float(seconds) if seconds else None, ended=over))
    return table


@pytest.mark.parametrize(
    ("jobs", "line"),
    [
        (["running 5", "waiting"], "0 of 2 done  1 min 05 s"),  # nothing to tell it by
        (["ok 10", "waiting", "waiting"], "1 of 3 done  1 min 05 s  about 20 s left"),
        (["ok 10", "running 4", "waiting"], "1 of 3 done  1 min 05 s  about 16 s left"),
        (["ok 10", "lost", "waiting"], "2 of 3 done, 1 failed  1 min 05 s  about 10 s left"),  # nobody knows how long
        (["lost", "waiting"], "1 of 2 done, 1 failed  1 min 05 s"),
        (["ok 10", "running 40"], "1 of 2 done  1 min 05 s"),  # nobody knows
        (["ok 10", "running 40", "waiting"], "1 of 3 done  1 min 05 s  about 10 s left"),  # longer than the mean
        (
            ["ok 10", "failed 20", "running 5", "running 5", "waiting"],
            "2 of 5 done, 1 failed  1 min 05 s  about 18 s left",
        ),
        (["ok 10", "ok 10"], "2 of 2 done  1 min 05 s"),
    ],
)
def test_what_is_left_is_the_mean_of_what_ended_over_as_many_as_run_at_once(jobs, line):
    assert progress(rows(*jobs), 65.0) == line


@pytest.mark.parametrize(
    ("room", "numbers"),
    [(7, [0, 1, 2, 3, 4, 5, 6]), (6, [0, 1, 3, 4, 5]), (4, [1, 3, 4, 5]), (3, [3, 4, 5]), (1, [4])],
)
def test_where_not_all_fit_those_that_run_are_shown_and_then_the_last_that_failed(room, numbers):
    table = rows("failed 1", "failed 1", "ok 1", "failed 1", "running 1", "running 1", "waiting")
    assert [r.number for r in fitting(table, room)] == numbers


def test_a_job_that_ended_is_one_line():
    assert plain(Row(3, SWEPT, "ok", seconds=18.2, ended=NOW), 3, 9) == f"3/9  ok  18 s  {SWEPT}"
    assert plain(Row(3, SWEPT, "failed", "load", "no", 65, NOW), 4, 9) == f"4/9  failed  1 min 05 s  {SWEPT}  load: no"


def test_in_a_narrow_terminal_what_is_swept_is_cut_and_each_job_still_one_line():
    expected = [
        Row(n, "model.factory=net.Net model.inputs.x.shape=[batch,3]", "running", "export", seconds=5) for n in (0, 1)
    ]
    screen = Console(file=io.StringIO(), width=48)
    screen.print(live._rendered(expected, "0 of 2 done"))
    assert screen.file.getvalue().splitlines()[1:] == [
        "0    model.factory=net.N…  running  export  5 s ",
        "1    model.factory=net.N…  running  export  5 s ",
        "0 of 2 done",
    ]


@pytest.fixture
def three(tmp_path):
    sweep = Sweep(tmp_path, [Job(n, f"{n}-net", ["model=net", f"opset={n}"]) for n in range(3)])
    sweep.begin({"opset": ["0", "1", "2"]})
    return sweep


def begin(sweep, number):
    """A job's own record of itself, as another process would write it."""
    return RunManifest(sweep.record(sweep.jobs[number]), sweep.jobs[number].overrides, {})


def test_without_a_terminal_a_job_of_another_process_is_a_line_when_it_ends(three, capsys):
    three.refuse(three.jobs[2], StageError("no such opset"))  # told of before anything was launched
    with live.view(three, ["opset"], here=False):
        begin(three, 0).fail(StageError("no luck"), 3)
        begin(three, 1)
    assert capsys.readouterr().err == "2/3  failed  0 s  opset=0  no luck\n"


def test_without_a_terminal_a_job_of_this_process_speaks_for_itself(three, capsys):
    with live.view(three, ["opset"], here=True):
        begin(three, 0).only_planned()
    assert capsys.readouterr().err == ""


class Terminal:
    """A pseudo-terminal that is stderr, and what was written to it."""

    def __init__(self):
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (12, 60))
        self._before = os.dup(2)
        os.dup2(theirs, 2)
        os.close(theirs)
        self._text = io.BytesIO()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        with contextlib.suppress(OSError):  # the other end is closed
            while piece := os.read(self._ours, 4096):
                self._text.write(piece)

    def end(self):
        """Gives stderr back; the text."""
        os.dup2(self._before, 2)
        os.close(self._before)
        self._reader.join()
        os.close(self._ours)
        return self._text.getvalue().decode()


@pytest.fixture
def terminal(monkeypatch):
    """Makes a Terminal: in the test itself, since pytest exchanges sys.stderr before it begins."""
    monkeypatch.setenv("TERM", "xterm")
    with open(2, "w", buffering=1, closefd=False) as stderr:

        def start():
            monkeypatch.setattr(sys, "stderr", stderr)
            return Terminal()

        yield start


def test_on_a_terminal_what_others_write_is_in_a_file_and_what_failed_is_told(three, terminal):
    shown = terminal()
    with live.view(three, ["opset"], here=False) as say:
        os.write(2, b"a native library\n")
        begin(three, 0).fail(StageError("[no] luck"), 3)
        begin(three, 1).started("export")
        say("by the way")
    os.write(2, b"afterwards\n")
    text = shown.end()
    expected = [
        "by the way",
        "job 0 failed: opset=0: [no] luck",
        "opset=1",
        "running",
        "export",
        "waiting",
        "1 of 3 done, 1 failed",
    ]
    assert [t for t in expected if t not in text] == []
    assert text.endswith("afterwards\r\n")
    assert (three.root / live.OUTPUT).read_text() == "a native library\n"


def test_a_view_that_breaks_is_gone_without_a_word_and_the_terminal_is_as_before(three, terminal, caplog):
    caplog.set_level(logging.DEBUG, "pipeline.sweeping.live")
    shown = terminal()
    with live.view(three, ["opset"], here=False) as say:
        three.record(three.jobs[0]).parent.mkdir()
        three.record(three.jobs[0]).write_text(json.dumps({"status": "ok"}))
        for thread in [t for t in threading.enumerate() if t.name == "live view"]:
            thread.join(timeout=60)
        os.write(2, b"a job's own line\n")
        say("by the way")
    text = shown.end()
    assert "a job's own line" in text
    assert "by the way" in text
    assert "Traceback" not in text
    assert caplog.messages == ["the live view ended: KeyError('started')"]


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(three, terminal, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    shown = terminal()
    with live.view(three, ["opset"], here=False):
        begin(three, 0).only_planned()
    assert shown.end() == "1/3  ok  0 s  opset=0\r\n"


@pytest.mark.slow  # the table on a terminal is tested before this, a sweep in test_sweep
def test_a_sweep_on_a_terminal_shows_its_jobs_and_leaves_result_and_terminal_as_they_were(tmp_path):
    (tmp_path / "net.py").write_bytes((SHOP / "net.py").read_bytes())
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (30, 120))
    before = termios.tcgetattr(theirs)
    overrides = [*MODEL, "model.weights=random", "target=onnx", "store=store", "hydra.sweep.dir=sweep"]
    command = [sys.executable, "-m", "pipeline", "-m", *overrides, "model.factory=net.Net,net.Raises"]
    env = {**os.environ, "TERM": "xterm"}
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    pieces = []
    while process.poll() is None or pieces[-1:] != [b""]:
        ready, _, _ = select.select([ours], [], [], 0.1)
        pieces.append(os.read(ours, 65536) if ready else b"")
    text = b"".join(pieces).decode()
    assert process.returncode == 6
    assert termios.tcgetattr(theirs) == before
    assert "\x1b[?25l" not in text  # the cursor is never hidden
    expected = [
        "model.factory=net.Net",
        "waiting",
        "0 of 2 done",
        "2 of 2 done, 1 failed",
        "failed: model.factory=net.Raises",
    ]
    assert [t for t in expected if t not in text] == []
    assert re.search(r"running\S*  (load|capture|export)", text)
    assert "Launching" not in text
    assert "Launching 2 jobs" in (tmp_path / "sweep" / live.OUTPUT).read_text()
    _, result, after = text.partition("artifact/custom.onnx\r\n")
    assert result
    assert "2 of 2 done" not in after
    assert "2 jobs: 1 ok, 1 failed" in after
