"""report.html in a real browser: it opens without a network or a complaint, and sorts and filters."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import CHROMIUM, Browser
from delivered_run import RECORD, delivered, written
from fake_sweep import benchmark, write

from pipeline import report

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
ROWS = "[...document.querySelectorAll('#jobs tbody tr')]"
SHOWN = f"{ROWS}.filter(r => r.checkVisibility()).map(r => r.cells[0].textContent)"
HEADS = "[...document.querySelectorAll('#jobs thead th')]"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write(tmp_path_factory.mktemp("sweeps") / "one")
    command = [sys.executable, "-m", "pipeline.report", str(folder), "--select", "min latency"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(folder / "report.html")
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, folder: Path) -> Browser:
    browser.open(folder / "report.html")
    return browser


def column(page: Browser, title: str) -> list[Any]:
    """The figures of a column as the page holds them, from top to bottom; its button's text is its title."""
    at = f"{HEADS}.findIndex(h => h.textContent === {json.dumps(title)})"
    return list(page.run(f"{ROWS}.map(r => r.cells[{at}].dataset.v ?? null)"))


def click(page: Browser, title: str) -> None:
    page.run(f"{HEADS}.find(h => h.textContent === {json.dumps(title)}).firstChild.click()")


@pytest.mark.parametrize("name", ["report.html", "0-small/report.html", "2-small/report.html"])
def test_a_page_asks_for_nothing_and_complains_of_nothing(browser: Browser, folder: Path, name: str) -> None:
    browser.open(folder / name)
    browser.run("scrollTo(0, document.body.scrollHeight)")
    assert browser.asked_for == [(folder / name).as_uri()]
    assert browser.complaints == []


def test_a_request_would_be_refused_and_noticed(page: Browser) -> None:
    page.run("fetch('https://localhost:1/').catch(() => 0)")
    assert any("Content Security Policy" in json.dumps(c) for c in page.complaints)


def test_the_figures_are_those_of_sweep_json(page: Browser, folder: Path) -> None:
    jobs = json.loads((folder / "sweep.json").read_text())["jobs"]
    columns = {
        "Error": "error",
        "Accuracy": "accuracy",
        "Drop": "drop",
        "Latency": "latency",
        "Speed-up": "speedup",
        "Size": "size",
    }
    for title, name in {**columns, "Build": "seconds", "Saved": "saved"}.items():
        values = [None if v is None else float(v) for v in column(page, title)]
        assert values == [job[name] for job in jobs], title
    assert page.run(f"{ROWS}.map(r => r.dataset.status)") == [job["status"] for job in jobs]


@pytest.mark.parametrize(
    ("title", "once", "twice"),
    [
        ("Latency", "103245", "301245"),  # as numbers: 10.5 comes after 8, what was not measured last
        ("Size", "103245", "301245"),
        ("Error", "301245", "103245"),
        ("precision", "140325", "250314"),
        ("#", "012345", "543210"),
    ],
)
def test_a_columns_head_sorts_by_it(page: Browser, title: str, once: str, twice: str) -> None:
    click(page, title)
    assert "".join(page.run(SHOWN)) == once
    click(page, title)
    assert "".join(page.run(SHOWN)) == twice
    assert page.run(f"{HEADS}.map(h => h.getAttribute('aria-sort')).filter(Boolean)") == ["descending"]


def test_the_keyboard_sorts_too(page: Browser) -> None:
    page.run("document.getElementById('status').focus()")
    while page.run("document.activeElement.textContent") != "Latency":
        page.press("Tab")
    page.press("Enter")
    assert "".join(page.run(SHOWN)) == "103245"


def test_words_and_a_status_filter(page: Browser) -> None:
    typed = "words.value = {}; words.dispatchEvent(new Event('input'))"
    page.run(typed.format("'18 FP'"))
    assert page.run(SHOWN) == ["0", "1"]
    assert page.run("count.value") == "2 of 6 jobs"
    page.run(typed.format("''"))
    page.run("document.getElementById('status').value = 'failed'")
    page.run("document.getElementById('status').dispatchEvent(new Event('change'))")
    assert page.run(SHOWN) == ["2"]


def test_a_cell_of_the_grid_leads_to_its_row_even_where_that_is_filtered_out(page: Browser) -> None:
    page.run("words.value = 'int8'; words.dispatchEvent(new Event('input'))")
    page.run("document.querySelector('.grid a[href=\"#job-3\"]').click()")
    page.run("new Promise(resolve => setTimeout(resolve, 50))")
    assert page.run("document.querySelector(':target').checkVisibility()")


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run that delivered a graph of six boxes, and one that compares it with itself."""
    home = tmp_path_factory.mktemp("graph")
    folder = delivered(home / "one", {**RECORD, "kind": "onnx"}, written("onnx", home), **benchmark(8.0, by="onnx"))
    report.of_two((folder, folder), folder / "compare.html")
    page = report.of_run(folder)
    assert page is not None
    return page


def test_the_graph_is_searched(browser: Browser, graph: Path) -> None:
    browser.open(graph)
    browser.run("words.value = 'matmul'; words.dispatchEvent(new Event('input'))")
    assert browser.run("[count.value, document.querySelectorAll('#net .aside').length]") == ["1 of 6 boxes", 5]
    browser.run("words.form.requestSubmit()")
    assert "operand 1: w: float32[3, 3]" in browser.run("says.textContent")


def test_the_graph_is_made_larger_and_smaller(browser: Browser, graph: Path) -> None:
    browser.open(graph)
    width = "drawing.getBoundingClientRect().width"
    before = browser.run(width)
    browser.run("document.getElementById('net-in').click()")
    assert browser.run(width) == pytest.approx(1.25 * before)
    browser.run("document.getElementById('net-fit').click()")
    assert browser.run(width) == pytest.approx(browser.run("net.clientWidth"))


@pytest.mark.parametrize("width", [1400, 420])
@pytest.mark.parametrize("name", ["report.html", "compare.html"])
def test_a_page_of_a_graph_and_of_two_runs_fits_and_asks_for_nothing(
    browser: Browser, graph: Path, name: str, width: int
) -> None:
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    browser.open(graph.with_name(name))
    assert browser.run("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    assert (browser.asked_for, browser.complaints) == ([graph.with_name(name).as_uri()], [])


@pytest.mark.parametrize("width", [1400, 420])
@pytest.mark.parametrize("name", ["report.html", "0-small/report.html"])
def test_a_page_fits_the_screen(browser: Browser, folder: Path, name: str, width: int) -> None:
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    browser.open(folder / name)
    assert browser.run("innerWidth") == width
    assert browser.run("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
