"""Reports of finished sweeps and runs.

    run.json of each job ──collect──► Sweep ─┬─► sweep.json
                                             ├─► report.html    page, charts; a single run's: run_page
                                             ├─► CSV, Markdown, the terminal's table
                                             └─► the best job by a rule: select

`python -m pipeline.report DIR` makes all of it anew from what the jobs' folders say; with two runs' folders it makes a
page that compares them.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.record import locate
from pipeline.report import comparison, delivered, page, places, run_page
from pipeline.report.collect import collect
from pipeline.report.select import Rule
from pipeline.report.sweep import Sweep
from pipeline.runs.folders import RUN, read_run
from pipeline.runs.jobs import FILE as JOBS
from pipeline.store.files import write_json

PAGE, DATA, COMPARED = "report.html", "sweep.json", "compare.html"
ALLOWED = f"the folder of a sweep, which has {JOBS}, of runs, or of a run, which has {RUN}"


def of_sweep(folder: Path, rule: Rule | None = None, *, with_paths: bool = False) -> Sweep:
    """Writes sweep.json, report.html, and a page into each job's folder. Raises ConfigError, OSError.

    Args:
        folder: The sweep's.
        rule: By what to choose the best job.
        with_paths: Whether what is written names hosts and absolute paths, as what is returned does.
    """
    sweep = collect(folder)
    if not sweep.jobs:
        raise ConfigError(f"{folder} holds no job of a sweep, and no run", allowed=ALLOWED)
    sweep = rule.applied(sweep) if rule else sweep
    written = sweep if with_paths else places.without(sweep)
    write_json(folder / DATA, written.plain, ordered=True)
    pages = {job.number for job in sweep.jobs if of_run(folder / job.folder, with_paths=with_paths)}
    (folder / PAGE).write_text(page.html(written, pages), encoding="utf-8")
    return sweep


def of_run(folder: Path, *, with_paths: bool = False) -> Path | None:
    """Writes a single run's page into its folder and returns where; None without a run.json. Raises OSError.

    Args:
        folder: The run's.
        with_paths: See `of_sweep`.
    """
    if (run := read_run(folder)) is None:
        return None
    path = folder / PAGE
    shown = run if with_paths else places.without(run)
    path.write_text(run_page.html(shown, delivered.find(folder, run)), encoding="utf-8")
    return path


def of_two(folders: tuple[Path, Path], to: Path, *, with_paths: bool = False) -> None:
    """Writes a page that compares two runs. Raises ConfigError where a folder has none, OSError.

    Args:
        folders: The runs'.
        to: Where it is written.
        with_paths: See `of_sweep`.
    """
    runs = []
    for folder in folders:
        if (run := read_run(folder)) is None:
            raise ConfigError(f"{folder} holds no {RUN} of ours", allowed=f"the folders of two runs, each with {RUN}")
        runs.append({**run, "of": str(folder.absolute())})
    a, b = runs if with_paths else places.without(runs)
    with locate.whole(folders[0]):
        to.write_text(comparison.html(a, b, (a["of"], b["of"])), encoding="utf-8")
