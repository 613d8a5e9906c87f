"""The pages: whole, the same for the same sweep, and nothing in them that a name could break."""

import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fake_sweep import FakeSweep, finished, write

from pipeline import report
from pipeline.errors import ConfigError
from pipeline.report.charts import front
from pipeline.report.run_page import places
from pipeline.runs.manifest import RunManifest

SCRIPT = "<script>alert(1)</script>"


class Elements(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page.read_text())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def by_tag(self, name):
        return [attributes for tag, attributes in self.elements if tag == name]


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "one")


def test_the_same_sweep_gives_the_same_bytes(folder):
    report.of_sweep(folder)
    before = {p: p.read_bytes() for p in folder.rglob("*.html")} | {p: p.read_bytes() for p in [folder / "sweep.json"]}
    assert len(before) == 7  # five jobs have begun
    report.of_sweep(folder)
    assert {p: p.read_bytes() for p in before} == before


def test_a_job_that_was_refused_before_it_had_a_configuration_has_a_page(tmp_path):
    sweep = FakeSweep(tmp_path / "one")
    sweep.skip("opset=abc")
    folder = sweep.listed({"opset": ["abc"]})
    RunManifest(folder / "0-small" / "run.json", ["opset=abc"], {}).fail(ConfigError("opset is abc"), 2)
    (job,) = report.of_sweep(folder).jobs
    assert (job.status, job.exit_code, job.problem) == ("failed", 2, "opset is abc")
    assert "opset is abc" in (folder / "0-small" / "report.html").read_text()


def test_nothing_that_a_job_says_becomes_part_of_the_page(tmp_path):
    sweep = FakeSweep(tmp_path / "one")
    for value in (SCRIPT, '" onclick="alert(1)', "$x$"):
        sweep.job(f"name={value}").finish(finished("built", SCRIPT, SCRIPT, 1e-7, size=9))
    report.of_sweep(sweep.listed({"name": [SCRIPT, '" onclick="alert(1)', "$x$"]}))
    for page in tmp_path.rglob("report.html"):
        elements = Elements(page)
        assert len(elements.by_tag("script")) == (page.parent == tmp_path / "one")
        assert not [a for _, a in elements.elements if "onclick" in a]


def test_a_page_links_to_nothing_but_itself_and_what_lies_beside_it(folder):
    report.of_sweep(folder)
    links = {a["href"] for a in Elements(folder / "report.html").by_tag("a")}
    assert {link for link in links if not link.startswith("#job-")} == {
        *(f"./{i}-small/report.html" for i in range(5)),
        *(f"./{i}-small/" for i in range(5)),
    }


def test_without_the_plotting_library_the_page_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    report.of_sweep(folder)
    page = (folder / "report.html").read_text()
    assert "pip install &#x27;torch-drydock[report]&#x27;" in page
    assert "<svg" not in page
    assert "2.0e-07" in page


@pytest.mark.parametrize(
    ("points", "best"),
    [
        ([(1, 1)], [0]),
        ([(2, 1), (1, 2), (2, 2)], [1, 0]),
        ([(1, 1), (1, 2), (2, 1)], [0]),
        ([(1, 1), (1, 1)], [0, 1]),
        ([(3, 0), (1, 5), (2, 5), (2, 3)], [1, 3, 0]),
    ],
)
def test_the_pareto_front_is_what_nothing_else_beats(points, best):
    assert front(points) == best


def test_the_way_to_what_is_delivered_is_drawn_straight_and_the_rest_beside_it():
    fed = {"load": [], "reference": ["load"], "export": ["load"], "check": ["export", "reference"], "save": ["check"]}
    placed = places(fed)
    assert {name: p.lane for name, p in placed.items()} == {
        "load": 0,
        "reference": 1,
        "export": 0,
        "check": 0,
        "save": 0,
    }
    assert placed["reference"].passing == ((0, 0),)
    assert placed["export"].passing == ((1, 1),)
    assert (placed["check"].sources, placed["check"].after) == ((0, 1), (0,))


def test_what_is_taken_later_moves_aside_for_what_leads_on():
    fed = {"load": [], "export": ["load"], "answers": ["load"], "evaluate": ["export", "answers"]}
    placed = places(fed)
    assert (placed["export"].lane, placed["export"].passing) == (0, ((0, 1),))
    assert placed["answers"].sources == (1,)
