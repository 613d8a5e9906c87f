"""The site: it builds without a warning, has every option and public name, and asks for nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from browser import CHROMIUM, Browser

import pipeline

ROOT = Path(__file__).resolve().parent.parent
CONF = ROOT / "conf"
GROUPS = ("target", "precision", "model", "also", "capture", "route", "tolerance", "hydra/launcher")
# The same arguments as `make docs`; then what the build imported.
BUILD = """
import sys
from sphinx.cmd.build import main
code = main(["-W", "--keep-going", "--quiet", "-c", "docs", ".", *sys.argv[1:]])
print({"torch", "numpy", "onnx", "openvino"} & sys.modules.keys() or "nothing heavy")
sys.exit(code)
"""
Built = tuple[Path, subprocess.CompletedProcess[str]]


def build(folder: Path, builder: str) -> Built:
    command = [sys.executable, "-c", BUILD, str(folder / "site"), "-b", builder, "-d", str(folder / "doctrees")]
    return folder / "site", subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Every page read and every link looked up, and what that printed; as trees, which take less time than HTML."""
    return build(tmp_path_factory.mktemp("trees"), "pseudoxml")


@pytest.fixture(scope="module")
def trees(built: Built) -> Path:
    assert built[1].returncode == 0, built[1].stderr
    return built[0]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make docs` builds it."""
    place, done = build(tmp_path_factory.mktemp("site"), "html")
    assert (done.returncode, done.stderr) == (0, "")
    return place


def words_of(page: Path) -> str:
    return " ".join(page.read_text().split())


def test_it_builds_without_a_warning_or_a_dead_link_and_imports_nothing_heavy(built: Built) -> None:
    assert (built[1].returncode, built[1].stderr, built[1].stdout) == (0, "", "nothing heavy\n")


def test_every_page_of_the_repository_is_on_it(trees: Path) -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*/README.md")]
    missing = [p for p in pages if not (trees / p.relative_to(ROOT)).with_suffix(".pseudoxml").is_file()]
    assert len(pages) > 30
    assert missing == []


def test_every_choice_has_its_place_on_the_page_of_options(trees: Path) -> None:
    page = (trees / "docs/reference/options.pseudoxml").read_text()
    options = [(g, p.stem) for g in GROUPS for p in (CONF / g).glob("*.yaml")]
    places = [f"{g}-{name}".replace("/", "-").replace("_", "-") for g, name in options]
    assert len(places) > 60
    assert [place for place in places if f'refid="{place}"' not in page] == []


def test_every_setting_of_every_stage_is_on_the_page_of_stages_with_its_default(trees: Path) -> None:
    page = words_of(trees / "docs/reference/stages.pseudoxml")
    missing = [
        f"{path.stem}: {key}"
        for path in sorted((CONF / "stage").glob("*.yaml"))
        for key, value in yaml.safe_load(path.read_text()).items()
        if key not in ("defaults", "_target_", "needs")
        for words in [key, *([value] if isinstance(value, str) else [])]
        if words not in page
    ]
    assert missing == []


def test_a_setting_says_what_it_may_be(trees: Path) -> None:
    rows = words_of(trees / "docs/reference/stages.pseudoxml").split("<row>")
    levels = [row for row in rows if " optimization_level " in row]
    assert levels
    assert [row for row in levels if "<paragraph> 0 to 5 <entry>" not in row] == []


def test_every_public_name_is_on_the_page_of_the_api(trees: Path) -> None:
    page = (trees / "docs/reference/api.pseudoxml").read_text()
    assert [name for name in pipeline._PLACES if f'fullname="{name}"' not in page] == []


ASKS = re.compile(r"""<(?:script|img|iframe|source)[^>]+src=["'](?:https?:)?//|<link[^>]+href=["'](?:https?:)?//""")
CSS_ASKS = re.compile(r"""url\(\s*["']?(?:https?:)?//|@import""")


@pytest.mark.slow
def test_no_page_asks_for_anything_from_elsewhere(site: Path) -> None:
    pages, sheets = list(site.rglob("*.html")), list(site.rglob("*.css"))
    assert min(len(pages), len(sheets)) > 1
    assert (site / "index.html").read_text() == (site / "README.html").read_text()
    assert [p for p in pages if ASKS.search(p.read_text())] == []
    assert [p for p in sheets if CSS_ASKS.search(p.read_text())] == []


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.mark.slow
@pytest.mark.parametrize("page", ["index.html", "docs/reference/options.html", "docs/reference/api.html"])
@pytest.mark.parametrize("width", [1400, 420])
def test_a_page_opens_without_a_network_or_a_complaint_and_fits(
    site: Path, browser: Browser, tmp_path: Path, page: str, width: int
) -> None:
    browser.open(site / page)
    browser.shoot(tmp_path / "page.png", width=width)
    assert [url for url in browser.asked_for if not url.startswith((site.as_uri(), "data:"))] == []
    assert browser.complaints == []
    assert browser.run("document.documentElement.scrollWidth") <= width


@pytest.mark.slow
def test_the_search_finds_a_page_without_a_server(site: Path, browser: Browser) -> None:
    browser.open(site / "search.html", "?q=palette")
    finds = "new Promise(done => setInterval(() => document.querySelector('#search-results li a') && done(true), 50))"
    assert browser.run(finds)
