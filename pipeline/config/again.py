"""The typed command with its wrong part replaced: a line to paste."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence

from pipeline.printable import by_script

# The command that the console script was started with, such as doctor.
of_script: list[str] = []


def program() -> str:
    """The program that runs, such as `python -m pipeline.doctor`. The console script is written in this form too."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    module = spec.name.removesuffix(".__main__") if spec else "pipeline"
    if by_script():
        module = ".".join(["pipeline", *of_script])
    return f"python -m {module}" if module.partition(".")[0] == "pipeline" else "python -m pipeline"


def with_change(overrides: Sequence[str], change: Mapping[str, Sequence[str]], *first: str) -> str:
    """The whole command with its flags.

    Args:
        overrides: As they were typed.
        change: By override, the words that replace it.
        first: Flags that come before all else.
    """
    ours = [o for o in overrides if not o.startswith("hydra.mode=")]  # Hydra's own word for -m, mostly
    typed = sys.argv[1:] if {*ours} <= {*sys.argv[1:]} else ours
    return command([*first, *(word for old in typed for word in change.get(old, [old]))])


def command(words: Sequence[str]) -> str:
    """The program with these words after it, quoted for a shell."""
    return f"{program()} {shlex.join(words)}".rstrip()
