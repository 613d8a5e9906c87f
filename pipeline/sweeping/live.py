"""What a person sees while a sweep runs, learnt from the jobs' run.json files: its workers may be other processes.

On a terminal a table that stays in place, a line for each job; elsewhere a line for each job that ends. Nothing here
may change what a sweep does: what goes wrong ends the view, and the sweep goes on without one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from pipeline import units
from pipeline.errors import StageError
from pipeline.printable import printable, tell
from pipeline.running import watchdog
from pipeline.runs.jobs import Job, State, Sweep, outcome_of
from pipeline.store.files import read_json, stamp

if TYPE_CHECKING:
    from rich.console import RenderableType

log = logging.getLogger(__name__)

EVERY = 0.5  # seconds from one look at the files to the next
OUTPUT = "output.log"  # in a sweep's folder: what would have been written through the table
WAITING, RUNNING = "waiting", "running"
STYLES = {WAITING: "dim", RUNNING: "bold", State.OK: "green"}
BAD = "red"
SIZE = (80, 24)  # of a terminal that does not say

Say = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """The state of one job.

    Args:
        number: The job's.
        swept: Its values of the swept keys.
        state: One of State, or that it waits or runs.
        stage: Which runs now, or ran when it did not end well.
        why: What went wrong, in a line.
        seconds: Since it started, or that it took; None for one that has not, or of which nobody knows.
        ended: When it ended, in seconds since the epoch, or for a lost one when it started; None while it may go on.
    """

    number: int
    swept: str
    state: str
    stage: str = ""
    why: str = ""
    seconds: float | None = None
    ended: float | None = None


def row(job: Job, axes: Collection[str], record: Any, now: float, *, lost: bool = False) -> Row:
    """One job at one moment.

    Args:
        job: Which.
        axes: The keys that are swept.
        record: Its run.json; None when there is none.
        now: Seconds since the epoch.
        lost: Whether it is known to run no more, whatever its record says.
    """
    swept = printable(" ".join(o for o in job.overrides if o.partition("=")[0] in axes) or job.folder)
    if not isinstance(record, dict):
        return Row(job.number, swept, WAITING)
    started = datetime.fromisoformat(record["started"]).timestamp()
    outcome = outcome_of(job, record)
    if outcome.state is State.LOST and not lost:  # on a machine whose clock may be ahead of ours
        return Row(job.number, swept, RUNNING, record["stage"] or "", seconds=max(0.0, now - started))
    cells = (job.number, swept, outcome.state, outcome.where, outcome.why)
    if outcome.state is State.LOST:  # nobody knows when
        return Row(*cells, ended=started)
    ended = datetime.fromisoformat(record["ended"]).timestamp()
    return Row(*cells, ended - started, ended)


def progress(rows: Sequence[Row], elapsed: float) -> str:
    """How far all of them are, such as "4 of 9 done, 1 failed  2 min 05 s  about 3 min 10 s left".

    What is left is the mean of those that ended for each that did not, less what those that run have had of it, over as
    many as run at once.
    """
    ended = [r for r in rows if r.ended is not None]
    bad = sum(r.state != State.OK for r in ended)
    counts = f"{len(ended)} of {len(rows)} done{f', {bad} failed' if bad else ''}"
    line = f"{counts}  {units.duration(elapsed, whole=True)}"
    took = [r.seconds for r in ended if r.seconds is not None]
    if not took:
        return line
    mean = sum(took) / len(took)
    at_once = max(1, sum(r.state == RUNNING for r in rows))
    remaining = sum(max(0.0, mean - (r.seconds or 0.0)) for r in rows if r.ended is None) / at_once
    return f"{line}  about {units.duration(remaining, whole=True)} left" if remaining >= 1 else line


def fitting(rows: Sequence[Row], room: int) -> list[Row]:
    """All rows when there is room; else those that run, and then those that failed, the last to fail first."""
    if len(rows) <= room:
        return list(rows)
    running = [r for r in rows if r.state == RUNNING]
    bad = [r for r in rows if r.ended is not None and r.state != State.OK]
    bad.sort(key=lambda r: r.ended or 0.0, reverse=True)
    return sorted([*running, *bad][:room], key=lambda r: r.number)


def plain(row: Row, ended: int, jobs: int) -> str:
    """The line of a job that ended, such as "3/9  ok  18 s  opset=18 precision=fp16"."""
    parts = (f"{ended}/{jobs}", row.state, _took(row), row.swept, _bad(row))
    return "  ".join(part for part in parts if part)


@contextlib.contextmanager
def view(sweep: Sweep, axes: Collection[str], *, here: bool) -> Iterator[Say]:
    """Shows the progress of a sweep's jobs within the block, and yields the function that prints any other line there.

    Args:
        sweep: Whose jobs.json is written.
        axes: The keys that are swept.
        here: Whether its jobs run in this process: without a terminal, their own lines are enough.
    """
    on_terminal = sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
    if here and not on_terminal:
        yield say
        return
    with contextlib.ExitStack() as stack:
        tell = say
        try:
            screen = _Table(stack.enter_context(_apart(sweep.root / OUTPUT))) if on_terminal else _Lines()
            stack.callback(screen.close)
            stack.callback(_Watch(sweep, axes, screen).end)
            tell = screen.say
        except Exception as e:
            _gone(e)
            stack.close()
        yield tell


def say(text: str) -> None:
    """Tells a person something, on stderr."""
    tell(text)


class _Screen(Protocol):
    """Where a sweep is shown."""

    def say(self, text: str) -> None: ...

    def ended(self, row: Row, ended: int, jobs: int) -> None:
        """Tells that a job has ended, and how many of all have."""

    def draw(self, rows: Sequence[Row], elapsed: float) -> None:
        """Shows how things are after so many seconds."""

    def close(self) -> None: ...


class _Lines:
    """No terminal: a line for each job when it ends."""

    def say(self, text: str) -> None:
        say(text)

    def ended(self, row: Row, ended: int, jobs: int) -> None:
        say(plain(row, ended, jobs))

    def draw(self, rows: Sequence[Row], elapsed: float) -> None:
        pass

    def close(self) -> None:
        pass


class _Table:
    """A terminal: a table that stays in place, and above it what went wrong.

    Args:
        terminal: What writes to it; stderr does not.
    """

    def __init__(self, terminal: TextIO) -> None:
        from rich.console import Console  # here, so that a sweep without a terminal never pays for it
        from rich.live import Live

        class Restored(Console):
            """Never hides the cursor: a job that crashes here could not bring it back."""

            def show_cursor(self, show: bool = True) -> bool:
                return False

        self._terminal = terminal
        self._console = Restored(file=terminal, force_terminal=True)
        self._live = Live(
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._live.start()

    def say(self, text: str) -> None:
        from rich.text import Text

        self._console.print(Text(printable(text)))

    def ended(self, row: Row, ended: int, jobs: int) -> None:
        if row.state != State.OK:
            self.say(f"job {row.number} {row.state}: {row.swept}: {_bad(row)}")

    def draw(self, rows: Sequence[Row], elapsed: float) -> None:
        from rich.console import ConsoleDimensions

        size = os.get_terminal_size(self._terminal.fileno())  # rich would ask stdout
        self._console.size = ConsoleDimensions(size.columns or SIZE[0], size.lines or SIZE[1])
        shown = fitting(rows, max(1, self._console.size.height - 3))  # less the head, the last line, and the cursor's
        self._live.update(_rendered(shown, progress(rows, elapsed)), refresh=True)

    def close(self) -> None:
        """Takes the table away, and gives stderr back. May be called more than once."""
        with contextlib.suppress(Exception):  # the terminal may be gone
            self._live.stop()
        os.dup2(self._terminal.fileno(), 2)


class _Watch(threading.Thread):
    """Reads the jobs' files until `end`, and draws them on a screen."""

    def __init__(self, sweep: Sweep, axes: Collection[str], screen: _Screen) -> None:
        super().__init__(name="live view", daemon=True)
        self._sweep, self._axes, self._screen = sweep, axes, screen
        self._began = time.monotonic()
        self._over = threading.Event()
        self._read: dict[int, tuple[list[int], Any]] = {}
        self._reported = {r.number for r in self._rows() if r.ended is not None}  # refused jobs, already reported
        self.start()

    def run(self) -> None:
        try:
            self._look()
            while not self._over.wait(EVERY):
                self._look()
            self._look()
        except Exception as e:
            _gone(e)
            self._screen.close()

    def end(self) -> None:
        """Looks once more, and no more."""
        self._over.set()
        self.join()

    def _look(self) -> None:
        rows = self._rows()
        for r in rows:
            if r.ended is not None and r.number not in self._reported:
                self._reported.add(r.number)
                self._screen.ended(r, len(self._reported), len(rows))
        self._screen.draw(rows, time.monotonic() - self._began)

    def _rows(self) -> list[Row]:
        now = time.time()
        lost = self._sweep.lost
        return [row(j, self._axes, self._record(j), now, lost=j.number in lost) for j in self._sweep.jobs]

    def _record(self, job: Job) -> Any:
        """A job's run.json, read only when it has changed."""
        path = self._sweep.record(job)
        try:
            at = stamp(path)
        except OSError:
            return None
        if self._read.get(job.number, ((), None))[0] != at:
            self._read[job.number] = at, _needed(read_json(path))
        return self._read[job.number][1]


@contextlib.contextmanager
def _apart(file: Path) -> Iterator[TextIO]:
    """Sends to a file what this process and those it starts write to the terminal; gives what still reaches it.

    By descriptor, so that native libraries and workers are meant too. What is the result, on stdout, is kept and
    written when this ends; a stdout that is no terminal stays what it is.
    """
    with contextlib.ExitStack() as stack:
        terminal = open(os.dup(2), "w", encoding="utf-8", errors="replace")  # noqa: PTH123, SIM115 (closed below)
        stack.callback(_close, terminal)
        output = stack.enter_context(file.open("wb"))
        results = stack.enter_context(tempfile.TemporaryFile())
        stdout = os.dup(1)
        stack.callback(os.close, stdout)
        shared = os.isatty(1)

        def give_back(error: StageError | None) -> None:
            os.dup2(terminal.fileno(), 2)

        stack.enter_context(watchdog.at_end(give_back))
        try:
            _flush()
            os.dup2(output.fileno(), 2)
            if shared:
                os.dup2(results.fileno(), 1)
            yield terminal
        finally:
            _flush()
            os.dup2(terminal.fileno(), 2)
            os.dup2(stdout, 1)
            results.seek(0)
            with contextlib.suppress(OSError):  # whoever asked has gone away
                os.write(1, results.read())


def _rendered(rows: Sequence[Row], last: str) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table("job", "swept", "state", "stage", "time", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in table.columns:
        column.no_wrap = column.header != "swept"  # where a line is too long, this one is cut
    for r in rows:
        swept = Text(r.swept, no_wrap=True, overflow="ellipsis")
        state = Text(r.state, STYLES.get(r.state, BAD))
        table.add_row(
            Text(str(r.number)), swept, state, Text(printable(r.stage)), Text(_took(r))
        )  # a string would be markup
    return Group(table, Text(last, no_wrap=True, overflow="ellipsis"))


def _needed(record: Any) -> Any:
    """What of a run.json is shown: the rest is long, and there may be hundreds."""
    keys = ("status", "stage", "started", "ended", "exit_code", "problems")
    return {k: record[k] for k in keys if k in record} if isinstance(record, Mapping) else None


def _took(row: Row) -> str:
    return units.duration(row.seconds, whole=True) if row.seconds is not None else ""


def _bad(row: Row) -> str:
    return ": ".join(part for part in (row.stage, row.why) if part) if row.state != State.OK else ""


def _close(terminal: TextIO) -> None:
    with contextlib.suppress(OSError):  # it may be gone, with what was still to be written
        terminal.close()


def _flush() -> None:
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()


def _gone(error: Exception) -> None:
    log.debug("the live view ended: %r", error)
