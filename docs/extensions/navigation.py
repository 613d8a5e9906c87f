"""The order of the pages, put into the first page as the site is built: the page itself stays plain Markdown."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

# Title to pages, without ".md". A page under docs/ that stands nowhere here is listed under "Topics", by its name.
ORDER = {
    "Begin": ["docs/tutorial", "docs/concepts", "docs/platforms"],
    "How to": ["docs/how-to/*", "docs/guide"],
    "Examples": ["examples/*/README"],
    "Topics": [
        "docs/models",
        "docs/check",
        "docs/precision",
        "docs/openvino",
        "docs/coreml",
        "docs/tensorrt",
        "docs/language_models",
        "docs/sweeps",
        "docs/reproducible",
        "docs/store",
        "docs/remote",
        "docs/trust",
        "docs/python",
    ],
    "When it fails": ["docs/troubleshooting", "docs/reference/exit_codes"],
    "Reference": [
        "docs/reference/options",
        "docs/reference/stages",
        "docs/reference/api",
        "docs/migration",
        "CHANGELOG",
    ],
    "Measured": [
        "docs/comparison",
        "docs/check_coverage",
        "docs/coverage",
        "docs/coreml_coverage",
        "docs/language_models_measured",
        "docs/reliability",
    ],
    "The project": ["CONTRIBUTING", "docs/decisions/README", "SECURITY"],
}
ELSEWHERE = ("docs/decisions/*", "docs/README")  # listed by a page of their own, or for a forge alone


def pages(root: Path) -> dict[str, list[str]]:
    """The pages of each heading, without ".md": those of ORDER that there are, and every other page under docs/."""
    found = {
        title: [page for pattern in patterns for page in _there(root, pattern)] for title, patterns in ORDER.items()
    }
    placed = {page for listed in (*found.values(), *(_there(root, p) for p in ELSEWHERE)) for page in listed}
    found["Topics"] += [page for page in _there(root, "docs/*") if page not in placed]
    return found


def _there(root: Path, pattern: str) -> list[str]:
    return sorted(p.relative_to(root).with_suffix("").as_posix() for p in root.glob(f"{pattern}.md"))


def listed(title: str, names: list[str]) -> str:
    """A list of pages in the sidebar, which the page itself does not show."""
    lines = "\n".join(f"/{name}" for name in names)
    return f"\n```{{toctree}}\n:hidden:\n:titlesonly:\n:maxdepth: 1\n:caption: {title}\n\n{lines}\n```\n"


def add(app: Sphinx, name: str, source: list[str]) -> None:
    """Adds the lists to the first page, and those of the decisions to theirs."""
    root = Path(app.srcdir)
    if name == app.config.root_doc:
        source[0] += "".join(listed(title, names) for title, names in pages(root).items() if names)
    if name == "docs/decisions/README":
        source[0] += listed("Decisions", [page for page in _there(root, "docs/decisions/*") if page != name])


def name_first_page(app: Sphinx, error: Exception | None) -> None:
    """The first page by the name that a browser looks for in a folder."""
    if error is None and app.builder.format == "html":
        shutil.copy(Path(app.outdir) / f"{app.config.root_doc}.html", Path(app.outdir) / "index.html")


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("source-read", add)
    app.connect("build-finished", name_first_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
