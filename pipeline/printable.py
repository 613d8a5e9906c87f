"""Text for a terminal: what came from a model, an exception or a file may not move its cursor, or more.

Our texts write commands as `python -m pipeline`; who typed the console script reads them with that.
"""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path

SCRIPT = "torch-drydock"


def printable(text: str, kept: str = "\n\t") -> str:
    """A text with everything written out that a terminal would obey instead of show, such as ESC as \\x1b.

    Args:
        text: Anybody's.
        kept: What is left as it is all the same.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in text)


def by_script() -> bool:
    """Whether this process was started by the console script."""
    return Path(sys.argv[0]).stem.replace("_", "-") == SCRIPT


def as_typed(text: str) -> str:
    """A text with each command of ours in it as the person typed this one: `torch-drydock doctor`, say."""
    return re.sub(r"python -m pipeline(\.(\w+))?", _by_script, text) if by_script() else text


def _by_script(found: re.Match[str]) -> str:
    return f"{SCRIPT} {found[2]}" if found[2] else SCRIPT


def tell(text: str) -> None:
    """Tells a person something, on stderr, if that can still be written."""
    with contextlib.suppress(OSError, ValueError):  # a terminal that went away, a full disk, a closed file
        print(as_typed(printable(text)), file=sys.stderr, flush=True)
