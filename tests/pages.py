"""The blocks of commands in the pages, and the reasons why no test runs some of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("examples/*/README.md")),
]
FENCE = re.compile(r"^ *```+(\S*)")
NOT_RUN = re.compile(r"^ *<!-- not run: (.+) -->$")
HERE = re.compile(r"<<'(\w+)'")
PROGRAMS = "bash|cat|cd|cp|git|ls|make|mkdir|mlflow|pip|printf|pytest|python3?|sha256sum|test|torch-drydock|uv"
COMMAND = re.compile(rf"^(?:[$!] )?(?:[A-Z_]+=\S+;? )*(?:{PROGRAMS})\b")


@dataclass(frozen=True)
class Block:
    """A block of a page.

    Args:
        page: The page.
        line: The number of its first line, from 1.
        language: The word after the fence; "" for a plain or an indented block.
        text: Its lines, without their common indentation.
        reason: Why no test runs it, from the comment above it; None without one.
    """

    page: Path
    line: int
    language: str
    text: str
    reason: str | None

    @property
    def commands(self) -> list[str]:
        """Its commands: all lines of a block of bash, or in other blocks the lines that begin like a command."""
        lines = [line for line in whole(self.text) if line.strip()]
        if self.language != "bash":
            lines = [line.removeprefix("$ ") for line in lines if COMMAND.match(line)]
        return lines

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def whole(text: str) -> Iterator[str]:
    """Commands of a shell, each with its continuation lines: after a backslash, or up to the end of a here-document."""
    lines = iter(text.replace("\\\n", " ").splitlines())
    for line in lines:
        if ends := HERE.search(line):
            taken = [line]
            for more in lines:
                taken.append(more)
                if more.strip() == ends[1]:
                    break
            line = "\n".join(taken)
        yield line


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    found: list[Block] = []
    lines = page.read_text().splitlines()
    at, reason = 0, None
    while at < len(lines):
        line = lines[at]
        if fence := FENCE.match(line):
            end = next(n for n in range(at + 1, len(lines)) if FENCE.match(lines[n]))
            found.append(Block(page, at + 2, fence[1], _dedented(lines[at + 1 : end]), reason))
            at, reason = end, None
        elif line.startswith("    ") and (at == 0 or not lines[at - 1].strip()):
            end = next((n for n in range(at, len(lines)) if lines[n].strip() and lines[n][:4].strip()), len(lines))
            found.append(Block(page, at + 1, "", _dedented(lines[at:end]), reason))
            at, reason = end - 1, None
        elif line.strip():
            marked = NOT_RUN.match(line)
            reason = marked[1] if marked else None
        at += 1
    return found


def _dedented(lines: list[str]) -> str:
    depth = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join(line[depth:] for line in lines).rstrip()
