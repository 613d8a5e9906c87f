"""The charts of a sweep, drawn by matplotlib into SVG: text stays text, colours are the page's, nothing is scripted."""

from __future__ import annotations

import functools
import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from pipeline.report.job import Job
from pipeline.report.measures import MEASURES, Measure
from pipeline.report.sweep import Sweep

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# matplotlib wants colours; these stand for the page's, which differ in light and dark.
INK, SOFT, LINE, ACCENT, PALE, PAPER = "#010203", "#010204", "#010205", "#010206", "#010207", "#010208"
NAMED = {INK: "ink", SOFT: "soft", LINE: "line", ACCENT: "accent", PALE: "pale", PAPER: "paper"}
WIDTH = 5.6  # inches of 72 points; the page scales it
MOST = 40  # bars that a person still compares
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a $ in a name is a $
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "hatch.linewidth": 0.8,
}


@dataclass(frozen=True)
class Chart:
    """One chart: its title, what to see in it, and the SVG."""

    title: str
    says: str
    svg: str


def prepare() -> None:
    """Imports what `draw` uses. Raises ImportError without matplotlib."""
    import matplotlib.backends.backend_svg
    import matplotlib.figure  # noqa: F401


def draw(sweep: Sweep) -> list[Chart]:
    """Every chart that a sweep has figures for. Raises ImportError without matplotlib."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        return [*_trade(sweep), *_times(sweep), *_sizes(sweep)]


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The indices of the Pareto front: points that no other point dominates; less is better in both coordinates."""
    order = sorted(range(len(points)), key=lambda i: points[i])
    best: list[int] = []
    for i in order:
        if not best or points[i][1] < points[best[-1]][1] or points[i] == points[best[-1]]:
            best.append(i)
    return best


def _trade(sweep: Sweep) -> Iterator[Chart]:
    """Latency, or size where nothing was benchmarked, against accuracy where it differs, perplexity, or the error."""
    across = MEASURES["latency" if MEASURES["latency"].is_measured(sweep.jobs) else "size"]
    differs = len({job.accuracy for job in sweep.jobs if job.accuracy is not None}) > 1
    off = "ratio" if MEASURES["ratio"].is_measured(sweep.jobs) else "error"
    up = MEASURES["accuracy" if differs else off]
    jobs = [j for j in sweep.jobs if j.status == "ok" and all(_is_number(m.value(j)) for m in (across, up))]
    if len(jobs) < 2:
        return
    xs, ys = ([m.value(j) or 0.0 for j in jobs] for m in (across, up))
    best = front([(x, -y if differs else y) for x, y in zip(xs, ys, strict=True)])
    figure, axes = _axes(3.7)
    axes.grid(visible=True)
    for scale, values in ((axes.set_xscale, xs), (axes.set_yscale, ys)):
        if min(values) > 0 and max(values) > 20 * min(values):
            scale("log")
    axes.margins(0.14)
    on_front = sorted((xs[i], ys[i]) for i in best)
    axes.plot(*zip(*on_front, strict=True), color=PALE, linewidth=2, drawstyle="steps-post", zorder=2)
    for i, job in enumerate(jobs):
        face = ACCENT if i in best else PAPER
        axes.plot(
            xs[i], ys[i], "o", markersize=7, color=face, markeredgecolor=ACCENT, markeredgewidth=1.5, zorder=3,
            url=f"#job-{job.number}",
        )  # fmt: skip
    axes.set_xlabel(_axis(across, axes.get_xscale()))
    axes.set_ylabel(_axis(up, axes.get_yscale()))
    _ticks(axes, across, up)
    _label(axes, [(xs[i], ys[i], _short(jobs[i])) for i in best])
    titles = {
        j.number: f"{j.name}: {across.title.lower()} {across.text_of(j)}, {up.title.lower()} {up.text_of(j)}"
        for j in jobs
    }
    side = "left and up" if differs else "left and down"
    says = f"{side.capitalize()} is better. Filled: the Pareto front, where no other job is as good in both."
    yield Chart(f"{across.title} against {up.title.lower()}", says, _svg(figure, "trade", titles))


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _sizes(sweep: Sweep) -> Iterator[Chart]:
    jobs = [job for job in sweep.jobs if job.size]
    if not jobs:
        return
    shown = sorted(jobs, key=lambda j: (-(j.size or 0), j.number))[:MOST]
    figure, axes = _bars([_short(job) for job in shown])
    sizes = [float(job.size or 0) for job in shown]
    for i, (job, size) in enumerate(zip(shown, sizes, strict=True)):
        axes.barh(i, size, height=0.62, color=ACCENT, url=f"#job-{job.number}")
    _ends(axes, sizes, [MEASURES["size"].text_of(job) for job in shown])
    more = f" The {MOST} largest of {len(jobs)}." if len(jobs) > MOST else ""
    titles = {j.number: f"{j.name}: {MEASURES['size'].text_of(j)}" for j in shown}
    yield Chart("Size of what was delivered", f"Largest first.{more}", _svg(figure, "sizes", titles))


def _times(sweep: Sweep) -> Iterator[Chart]:
    spent = {n: s for n, s in sweep.spent.items() if s.built + s.shared + s.earlier >= 0.05}
    if not spent:
        return
    figure, axes = _bars(list(spent))
    kinds = (("built", ACCENT, None), ("shared", PALE, None), ("earlier", PAPER, "/////"))
    ends = [0.0] * len(spent)
    for kind, colour, hatch in kinds:
        values = [getattr(s, kind) for s in spent.values()]
        axes.barh(
            range(len(spent)), values, 0.62, left=ends, color=colour, edgecolor=PALE if hatch else colour, hatch=hatch,
            linewidth=0.8,
        )  # fmt: skip
        ends = [a + b for a, b in zip(ends, values, strict=True)]
    texts = [
        f"{s.built:.1f} s" + (f" + {s.shared + s.earlier:.1f} s saved" if s.shared + s.earlier >= 0.05 else "")
        for s in spent.values()
    ]
    _ends(axes, ends, texts)
    says = "All jobs together. Strong: built; faint: saved by sharing between jobs; hatched: saved by earlier runs."
    yield Chart("Time spent per stage", says, _svg(figure, "times", {}))


def _axes(height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    axes.tick_params(which="both", length=0)
    axes.set_axisbelow(True)
    return figure, axes


def _bars(names: Sequence[str]) -> tuple[Figure, Axes]:
    """Axes for horizontal bars, the first on top."""
    figure, axes = _axes(0.25 + 0.27 * len(names))
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", labelcolor=INK)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    return figure, axes


def _ends(axes: Axes, lengths: Sequence[float], texts: Sequence[str]) -> None:
    """What each bar comes to, behind its end, with room for it."""
    room = 0.018 * max(map(len, texts)) + 0.03
    axes.set_xlim(0, max(lengths) / (1 - room))
    for i, (length, text) in enumerate(zip(lengths, texts, strict=True)):
        axes.annotate(text, (length, i), (5, 0), textcoords="offset points", va="center", color=SOFT)


def _label(axes: Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """Names beside points, those left out that would lie on an earlier one."""
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    placed: list[tuple[float, float]] = []
    for x, y, text in sorted(points):
        at = axes.transData.transform((x, y))
        if all(abs(at[1] - b) > 16 or abs(at[0] - a) > 90 for a, b in placed):
            placed.append((at[0], at[1]))
            right = axes.transAxes.inverted().transform(at)[0] > 0.7
            offset, side = ((-6, 7), "right") if right else ((6, 7), "left")
            axes.annotate(text, (x, y), offset, textcoords="offset points", ha=side, va="bottom", zorder=4)


def _short(job: Job) -> str:
    text = " · ".join(job.swept.values()) or f"job {job.number}"
    return text if len(text) <= 28 else f"{text[:27]}…"


def _axis(measure: Measure, scale: str) -> str:
    unit = {"latency": " in ms"}.get(measure.name, "")
    return f"{measure.title}{unit}{', logarithmic' if scale == 'log' else ''}"


def _ticks(axes: Axes, across: Measure, up: Measure) -> None:
    """Few ticks, in the words of the tables; a unit stands in the axis' label, where that is one for all."""
    from matplotlib.ticker import MaxNLocator

    plain: dict[str, Callable[[float], str]] = {
        "latency": "{:.4g}".format,
        "accuracy": "{:.4g}".format,
        "ratio": "{:.4g}".format,
        "error": "{:.0e}".format,
    }
    for axis, measure in ((axes.xaxis, across), (axes.yaxis, up)):
        if axis.get_scale() == "linear":
            axis.set_major_locator(MaxNLocator(5))
        text = plain.get(measure.name, measure.text)
        axis.set_major_formatter(functools.partial(_tick, text))


def _tick(text: Callable[[float], str], value: float, position: Any) -> str:
    return text(value)


def _svg(figure: Figure, name: str, titles: Mapping[int, str]) -> str:
    """A figure as SVG for a page: the same figure gives the same bytes, and ids are this chart's own.

    Args:
        figure: What was drawn.
        name: Of this chart, among those of its page.
        titles: Job to what its mark is called, by those who point at it and those who have the page read to them.
    """
    from matplotlib import rc_context

    out = io.StringIO()
    with rc_context({"svg.hashsalt": name}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = out.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    for number, title in titles.items():
        opening = f'<a href="#job-{number}" aria-label="{escape(title)}"><title>{escape(title)}</title>'
        svg = svg.replace(f'<a xlink:href="#job-{number}" target="_blank">', opening)
    used = set(re.findall(r"#([\w-]+)[\")]", svg))
    svg = re.sub(r' id="([^"]+)"', lambda m: m[0] if m[1] in used else "", svg)
    for colour, variable in NAMED.items():
        svg = svg.replace(colour, f"var(--{variable})")
    svg = re.sub(r"(font: [^;\"]*?[\d.]+px)[^;\"]*", r"\1 var(--font)", svg)
    return re.sub(r'<svg [^>]*?(viewBox="[^"]+")[^>]*>', r'<svg \1 role="group">', svg, count=1)
