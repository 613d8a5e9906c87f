"""The screen output during a run and at its end. All of it goes to stderr: stdout is for the result."""

from __future__ import annotations

import contextlib
import copy
import logging
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from pipeline import formats, units
from pipeline.artifact import Kind
from pipeline.errors import DrydockError
from pipeline.planning.plan import Step, Todo
from pipeline.printable import WIDTH, printable, shown, tell, width_of
from pipeline.running.outcome import Outcome, Result

if TYPE_CHECKING:
    from rich.progress import Progress

log = logging.getLogger(__name__)


class StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to whatever sys.stderr is now, so that lines appear above a progress display instead of through it.

    Attributes:
        begins: What each line of this process begins with; see `named`.
    """

    begins = ""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        record = copy.copy(record)  # the log file has the traceback, and a person its first line
        record.exc_info = record.exc_text = record.stack_info = None
        return textwrap.indent(shown(super().format(record), self.stream), self.begins)


@contextlib.contextmanager
def named(job: int | None) -> Iterator[None]:
    """Begins each line of a job with its number: where several write to one screen, or None for a job by itself."""
    StderrHandler.begins = "" if job is None else f"job {job}  "
    try:
        yield
    finally:
        StderrHandler.begins = ""


class Console:
    """Tells one run: a line for each stage and a closing summary; on a terminal, the stage under way with a clock.

    Args:
        began: When the run began, by time.perf_counter().
    """

    def __init__(self, began: float) -> None:
        self._began = began
        self._names: list[str] = []
        self._progress: Progress | None = None

    def planned(self, steps: Sequence[Step]) -> None:
        """Says how much there is to do."""
        self._names = [step.name for step in steps]
        log.info("%s", counted(steps))

    def started(self, name: str) -> None:
        """Shows that a stage runs."""
        if not sys.stderr.isatty():
            return
        from rich.console import Console as Terminal  # here, so that a run without a terminal never pays for it
        from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
        from rich.text import Text

        began = self._began

        class OfAll(ProgressColumn):
            """How long the run has been going on."""

            def render(self, task: Task) -> Text:
                return Text(f"of {units.duration(time.perf_counter() - began, whole=True)}", "dim")

        self.close()
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn(), OfAll())
        self._progress = Progress(*columns, console=Terminal(stderr=True), transient=True)
        self._progress.add_task(self._place(name), total=None)
        self._progress.start()

    def _place(self, name: str) -> str:
        """A stage and which of all it is, such as "7/12  compile"."""
        which = f"{self._names.index(name) + 1}/{len(self._names)}  " if name in self._names else ""
        return f"{which}{printable(name)}"

    def finished(self, outcome: Outcome) -> None:
        """One line for a stage: its name, its outcome, seconds, size, and its own sentence."""
        self.close()
        log.info("%s", stage_line(outcome))

    def close(self) -> None:
        """Takes the progress display away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def summary(self, result: Result, run_file: object) -> None:
        """The closing lines of a run that succeeded; on a terminal between two rules."""
        rule = "─" * min(width_of(sys.stderr), WIDTH) if sys.stderr.isatty() else ""
        if rule:
            log.info("%s", rule)
        for name, text in summary(result, time.perf_counter() - self._began):
            log.info("%-9s %s", name, text)
        log.info("%-9s %s", "record", run_file)
        if rule:
            log.info("%s", rule)


def show(error: DrydockError) -> int:
    """Shows an error where there is no log to say it in, and returns its exit code."""
    for problem in error.problems:
        tell(f"error: {problem}")
    return error.exit_code


def counted(steps: Sequence[Step]) -> str:
    """How many stages are hits and how many must run, such as "12 stages: 8 from the store, 3 to build, 1 to deliver".

    A stage in memory counts as a hit if no later stage has to be built from it, as in a plan and in a summary.
    """
    ready = sum(s.todo in (Todo.HIT, Todo.IDLE) for s in steps)
    return _counts(len(steps), ready, sum(s.todo is Todo.BUILD for s in steps), "to build", "to deliver")


def _counts(stages: int, ready: int, built: int, build: str, deliver: str) -> str:
    delivered = stages - ready - built
    rest = f", {delivered} {deliver}" if delivered else ""
    return f"{stages} stages: {ready} from the store, {built} {build}{rest}"


def plan_table(steps: Sequence[Step], columns: int | None = None) -> str:
    """The plan as a table: stage, what is to be done, what feeds it, and why.

    Args:
        steps: The steps of the plan.
        columns: The width of the terminal, at which `why` is wrapped; None for no wrapping.
    """
    todo = {s.name: str(Todo.HIT if s.todo is Todo.IDLE else s.todo) for s in steps}
    rows = [(s.name, todo[s.name], ", ".join(s.node.inputs.values()), s.why) for s in steps]
    widths = [max(len(r[i]) for r in rows) for i in range(3)]
    before = sum(widths) + 2 * len(widths)
    room = max(columns - before, 20) if columns else 0
    lines = []
    for row in rows:
        head = "  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), ""])
        first, *more = (textwrap.wrap(row[3], room, break_long_words=False) if room else [row[3]]) or [""]
        lines += [f"{head}{first}".rstrip(), *(" " * before + part for part in more)]
    return "\n".join(lines)


def stage_line(outcome: Outcome) -> str:
    """One stage, such as "export           built     3.9 s   97.5 MiB  opset 18, 122 nodes"."""
    size = units.size(outcome.size) if outcome.size else ""
    text = outcome.notes.get("says", "")
    return f"{outcome.name:<16} {outcome.how:<9} {outcome.seconds:6.1f} s  {size:>10}  {text}".rstrip()


def summary(result: Result, seconds: float) -> list[tuple[str, str]]:
    """The result of a run, as names and texts: artifact, size, parity, weights, time."""
    last = next((o for o in result.outcomes if o.how == "delivered"), result.outcomes[-1])
    hits = [o for o in result.outcomes if o.how == "hit"]
    built = sum(o.how == "built" for o in result.outcomes)
    saved = sum(o.seconds for o in hits)
    lines = [("artifact", str(result.delivered) if result.delivered else "none: no stage of this graph delivers one")]
    if result.served is not None:
        lines.append(("instead", str(result.served)))
    if how := loading(result):
        lines.append(("load", how))
    if source := last.facts.get("source", {}).get("bytes"):
        share = f"{last.size / source:.2f}x the source model's {units.size(source)}"
        lines.append(("size", f"{units.size(last.size)}, {share}"))
    lines.append(("parity", parity(result.outcomes, last.digest)))
    lines += [(o.name, line) for o in result.outcomes for line in o.notes.get("benchmark", {}).get("table", ())]
    if weights := last.facts.get("weights"):
        lines.append(("weights", str(weights["says"])))
    if lowered := [last.facts[name]["says"] for name in ("pruning", "quantization") if name in last.facts]:
        lines.append(("precision", "; ".join(lowered)))
    for name, note in (("built", "audit"), ("accuracy", "evaluation"), ("perplexity", "perplexity")):
        lines += [(name, o.notes["says"]) for o in result.outcomes if o.digest == last.digest and note in o.notes]
    lines += [("caution", f"{o.name}: {o.notes['caution']}") for o in result.outcomes if o.notes.get("caution")]
    counts = _counts(len(result.outcomes), len(hits), built, "built", "delivered")
    lines.append(("time", f"{units.duration(seconds)}; {counts}; {units.duration(saved)} saved"))
    return lines


def loading(result: Result) -> str:
    """Python code that loads the artifact, from its format; empty where the format has none."""
    record = result.record or {}
    kind = Kind(record.get("kind", ""))
    if result.delivered is None or not formats.format_of(kind).bundle:
        return ""
    checked = [claim for check in record["checks"] for name in ("parity", "tokens") if (claim := check.get(name))]
    claim = checked[-1] if checked else {"compute": record["precision"]["compute"]}
    bundle = formats.part(kind, "bundle").Bundle
    text = str(bundle.loading(str(result.delivered), "{…}", "[…]", record["facts"], claim))
    return next((line.partition(" = ")[2] for line in text.splitlines() if line.startswith("model = ")), "")


def parity(outcomes: Sequence[Outcome], digest: str | None) -> str:
    """The worst error of the artifact with this digest at each shape, by the last check that looked at it."""
    looked = {"parity", "unchecked", "generation"}
    checks = [n for n in (o.notes for o in outcomes if o.digest == digest) if looked & set(n)]
    if not checks:
        return "NOT CHECKED against the model: no check stage looked at this artifact"
    if unchecked := checks[-1].get("unchecked"):
        shapes = ", ".join(case["shape"] for case in unchecked["cases"])
        return f"NOT CHECKED against {unchecked['against']}: {unchecked['why']}; it only runs, at {shapes}"
    if tokens := checks[-1].get("generation"):
        return _tokens(tokens)
    compared = checks[-1]["parity"]
    drawn = [case for case in compared["cases"] if case.get("family", "sizes") == "sizes"]
    text = ", ".join(f"{case['max_rel']:.1e} at {case['shape']}" for case in drawn)
    if len(drawn) < len(compared["cases"]):
        worst = max(case["max_rel"] for case in compared["cases"] if case not in drawn)
        text += f", {worst:.1e} with {len(compared['cases']) - len(drawn)} families of values"
    if unsure := compared.get("not_judged"):
        text += f"; not judged, since rounding decides them: {len(unsure)}"
    return f"worst relative error against {compared['against']} {text}"


def _tokens(tokens: Mapping[str, Any]) -> str:
    """The comparison of a language model's tokens, as text."""
    text = f"{tokens['equal']} tokens are those of {tokens['against']}, through {tokens['runtime']}"
    text += f", {tokens['own']} of them by our own loop" if tokens["own"] else ""
    text += f", as {tokens['by_ours']}" if tokens["by_ours"] else ""
    return text + (f"; {tokens['open']} after a choice too close to call" if tokens["open"] else "")
