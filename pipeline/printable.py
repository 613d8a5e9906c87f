"""Text for a terminal: what came from a model, an exception or a file may not move its cursor, or more."""

from __future__ import annotations

import contextlib
import sys


def printable(text: str, kept: str = "\n\t") -> str:
    """A text with everything written out that a terminal would obey instead of show, such as ESC as \\x1b.

    Args:
        text: Anybody's.
        kept: What is left as it is all the same.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in text)


def tell(text: str) -> None:
    """Tells a person something, on stderr, if that can still be written."""
    with contextlib.suppress(OSError, ValueError):  # a terminal that went away, a full disk, a closed file
        print(printable(text), file=sys.stderr, flush=True)
