"""Text for a terminal, which a text from a model, an exception or a file must not control.

Our texts write commands as `python -m pipeline`; users of the console script see its name instead.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import textwrap
from pathlib import Path
from typing import TextIO

SCRIPT = "torch-drydock"
WIDTH = 80  # where the terminal does not say
# What a terminal shows in colour: the text before it, the coloured text, and its code of ISO 6429.
COLOURS = (
    (re.compile(r"^()(error:)", re.MULTILINE), "1;31"),
    (re.compile(r"^( +)(try:|again:)", re.MULTILINE), "36"),
    (re.compile(r"^()(caution|.*? jobs: .*(?:failed|lost).*)", re.MULTILINE), "33"),
    (re.compile(r"()\b(NOT CHECKED|UNTRAINED|NOISY)\b"), "33"),
    (re.compile(r"^([\w.]+ +)(hit|delivered|deliver)\b", re.MULTILINE), "32"),
    (re.compile(r"^([\w.]+ +)(built|miss)\b", re.MULTILINE), "33"),
    (re.compile(r"^()(artifact)(?=  )", re.MULTILINE), "1;32"),
)
# Where the text of a line begins, after a label or a stage.
LABEL = re.compile(r"\S+ +(?:built|hit|delivered) +[\d.]+ s +(?:[\d.]+ [KMGT]?i?B)?  |  \w+: +|\w+:? +(?=\S)")
COMMAND = re.compile(
    r" +(try|again|log):|\w+ +/\S+$|log: |load {6}\S"
)  # a command to paste: the terminal wraps it without a line break in the text


def printable(text: str, keep: str = "\n\t") -> str:
    """A text with its control characters written out, such as ESC as \\x1b.

    Args:
        text: From any source.
        keep: Control characters that stay.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def by_script() -> bool:
    """Whether this process was started by the console script."""
    return Path(sys.argv[0]).stem.replace("_", "-") == SCRIPT


def as_typed(text: str) -> str:
    """A text with each command of ours in it as the person typed this one: `torch-drydock doctor`, say."""
    return re.sub(r"python -m pipeline(\.(\w+))?", _by_script, text) if by_script() else text


def _by_script(match: re.Match[str]) -> str:
    return f"{SCRIPT} {match[2]}" if match[2] else SCRIPT


def shown(text: str, stream: TextIO) -> str:
    """A text for a stream: on a terminal in lines that fit, and in colour unless NO_COLOR is set.

    Source: https://no-color.org
    """
    text = as_typed(printable(text))
    if not stream.isatty():
        return text
    text = fitting(text, width_of(stream))
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb"
    return text if plain else coloured(text)


def coloured(text: str) -> str:
    """A text with its important parts in colour."""
    for pattern, code in COLOURS:
        text = pattern.sub(rf"\1\033[{code}m\2\033[0m", text)
    return text


def fitting(text: str, width: int) -> str:
    """A text in lines of at most `width` columns. Commands, paths and words without a space stay whole."""
    return "\n".join(part for line in text.split("\n") for part in _parts(line, width))


def _parts(line: str, width: int) -> list[str]:
    if len(line) <= width or COMMAND.match(line):
        return [line]
    label = LABEL.match(line)
    hang = " " * min(len(label[0]) if label else 2, width // 2)
    return textwrap.wrap(line, width, subsequent_indent=hang, break_long_words=False, break_on_hyphens=False)


def width_of(stream: TextIO) -> int:
    """How many columns a terminal has."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or WIDTH
    except (OSError, ValueError):
        return WIDTH


def tell(text: str) -> None:
    """Prints a message for a person on stderr, if that can still be written."""
    if sys.stderr is None:
        return
    with contextlib.suppress(OSError, ValueError):  # a terminal that went away, a full disk, a closed file
        print(shown(text, sys.stderr), file=sys.stderr, flush=True)
