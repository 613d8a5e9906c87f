"""The charts of a sweep, drawn by matplotlib into SVG: text stays text, colours are the page's, nothing is scripted."""

from __future__ import annotations

import functools
import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any

from pipeline.report.job import Job
from pipeline.report.measures import MEASURES, Measure
from pipeline.report.sweep import Sweep
from pipeline.report.tables import doubts
from pipeline.report.tables import figure as shown_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# matplotlib wants colours; these stand for the page's, which differ in light and dark.
INK, SOFT, LINE, ACCENT, PALE, PAPER = "#010203", "#010204", "#010205", "#010206", "#010207", "#010208"
NAMED = {INK: "ink", SOFT: "soft", LINE: "line", ACCENT: "accent", PALE: "pale", PAPER: "paper"}
# A target has a shape and a colour, and the legend says which: the colour is never alone. The first is the accent.
SHAPES = "osD^vPX"
COLOURS = (ACCENT, *(f"#01030{i}" for i in range(1, len(SHAPES))))
NAMED |= {colour: f"target-{i}" for i, colour in enumerate(COLOURS) if i}
RING: dict[str, Any] = {
    "markersize": 14,
    "markerfacecolor": "none",
    "markeredgecolor": SOFT,
    "markeredgewidth": 0.8,
}  # of what is noisy
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
    looks = _looks(sweep)
    for i, job in enumerate(jobs):
        shape, colour = looks[job.target]
        axes.plot(
            xs[i], ys[i], shape, markersize=7, color=colour if i in best else PAPER, markeredgecolor=colour,
            markeredgewidth=1.5, zorder=3, url=f"#job-{job.number}",
        )  # fmt: skip
        if _doubted(job, across):
            axes.plot(xs[i], ys[i], "o", zorder=2, **RING)
    axes.set_xlabel(_axis(across, axes.get_xscale()))
    axes.set_ylabel(_axis(up, axes.get_yscale()))
    _ticks(axes, across, up)
    _label(axes, [(xs[i], ys[i], _marked(jobs[i], across, with_target=len(looks) == 1)) for i in best])
    _legend(figure, {job.target: looks[job.target] for job in jobs}, noisy=any(_doubted(j, across) for j in jobs))
    titles = {
        j.number: f"{j.name}: {across.title.lower()} {_in_full(j, across)}, {up.title.lower()} {_in_full(j, up)}"
        for j in jobs
    }
    side = "left and up" if differs else "left and down"
    says = f"{side.capitalize()} is better. Filled: the Pareto front, where no other job is as good in both."
    if any(_doubted(j, across) for j in jobs):
        says += " Ringed: a noisy latency, whose place may be chance."
    foreign = {f"{j.target}'s is {j.runtime}'s" for j in jobs if across.name == "latency" and j.not_by}
    says += f" The latency is not of the target's own runtime: {'; '.join(sorted(foreign))}." if foreign else ""
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
    looks = _looks(sweep)
    for i, (job, size) in enumerate(zip(shown, sizes, strict=True)):
        axes.barh(i, size, height=0.62, color=looks[job.target][1], url=f"#job-{job.number}")
    _legend(figure, {job.target: ("s", looks[job.target][1]) for job in shown}, noisy=False)
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


def _looks(sweep: Sweep) -> dict[str, tuple[str, str]]:
    """Target to the shape and colour of its marks, the same in every chart of a sweep."""
    targets = dict.fromkeys(job.target for job in sweep.jobs)
    return {t: (SHAPES[i % len(SHAPES)], COLOURS[i % len(COLOURS)]) for i, t in enumerate(targets)}


def _legend(figure: Figure, looks: Mapping[str, tuple[str, str]], *, noisy: bool) -> None:
    """What each mark stands for, below the axes; nothing where all are of one target and quiet."""
    from matplotlib.lines import Line2D

    marks = [
        Line2D([], [], marker=shape, color=colour, linestyle="none", markersize=7, label=target)
        for target, (shape, colour) in looks.items()
        if len(looks) > 1
    ]
    marks += [Line2D([], [], marker="o", linestyle="none", label="noisy", **RING)] if noisy else []
    if marks:
        figure.legend(handles=marks, loc="outside lower left", ncols=4, labelcolor=INK, handletextpad=0.2)


def _doubted(job: Job, across: Measure) -> bool:
    return across.name == "latency" and bool(job.noise)


def _marked(job: Job, across: Measure, *, with_target: bool) -> str:
    """A label beside a mark, without the target where a legend has that."""
    axes = {axis: value for axis, value in job.swept.items() if with_target or axis != "target"}
    return f"{'~' if _doubted(job, across) else ''}{_short(replace(job, swept=axes) if axes else job)}"


def _in_full(job: Job, measure: Measure) -> str:
    """A figure with the doubts about it, such as a noisy benchmark."""
    return " ".join([shown_figure(job, measure), *(f"({doubt})" for doubt in doubts(job, measure))])


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
