"""HTML in safe pieces: any text that is not a piece is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

HERE = Path(__file__).parent
# Nothing is fetched, wherever the page is opened: what is not in the file is not there.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)


class Piece(str):
    """HTML that is whole and safe to put into a page."""

    __slots__ = ()


def tag(name: str, *inside: str | int | None, **attributes: str | int | bool | None) -> Piece:
    """One element. What is inside is escaped unless it is a Piece; None is left out.

    Args:
        name: Its name.
        inside: Its content.
        attributes: By name, with _ for -, and a _ behind what Python keeps for itself; True stands without a value,
            None and False are left out.
    """
    written = "".join(
        f" {n.rstrip('_').replace('_', '-')}" + ("" if v is True else f'="{escape(str(v))}"')
        for n, v in attributes.items()
        if v is not None and v is not False
    )
    return Piece(f"<{name}{written}>{_joined(*inside)}</{name}>")


def joined(*pieces: str | int | None) -> Piece:
    """Pieces behind each other, on lines of their own."""
    return Piece("\n".join(_safe(p) for p in pieces if p is not None and p != ""))


def marked(text: str) -> Piece:
    """Text in which `code` stands between backticks."""
    parts = text.split("`")
    return Piece("".join(tag("code", part) if i % 2 else escape(part) for i, part in enumerate(parts)))


def link(text: str, path: str, **attributes: str | None) -> Piece:
    """A link to a file beside the page. A path is never taken for an address."""
    return tag("a", text, href=f"./{quote(path)}", **attributes)


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Piece:
    """A table under a title; it scrolls by itself where it is wider than the page. Its first column names the rows."""
    cells = (tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:])) for row in rows)
    heads = tag("thead", tag("tr", *(tag("th", name, scope="col") for name in head)))
    whole = tag("table", heads, tag("tbody", *cells), class_="plain")
    return joined(tag("h3", title), tag("div", whole, class_="scrolled", role="region", aria_label=title, tabindex=0))


def page(title: str, *body: str, script: str = "") -> str:
    """A whole page that needs nothing but itself."""
    style = (HERE / "page.css").read_text(encoding="utf-8")
    head = (
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        '<link rel="icon" href="data:,">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{style}</style>",
    )
    run = f"<script>\n{script}</script>\n" if script else ""
    lines = ("<!doctype html>", '<html lang="en">', "<head>", *head, "</head>", "<body>", "<main>", joined(*body))
    return "\n".join([*lines, "</main>", f"{run}</body>", "</html>", ""])


def _joined(*pieces: str | int | None) -> str:
    return "".join(_safe(p) for p in pieces if p is not None)


def _safe(piece: str | int) -> str:
    return piece if isinstance(piece, Piece) else escape(str(piece))
