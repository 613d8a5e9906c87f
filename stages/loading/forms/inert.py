"""Checkpoints whose pickles name classes beside the weights: the weights are read, and nothing else comes to life.

Training loops keep their arguments, configurations and callbacks in the same file. torch's restricted unpickler reads
it, with an object that does nothing in the place of each of these: no module is imported, and no code of theirs runs.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

# Python's own modules whose classes hold data. A pickle that names others of Python's is refused: such name what runs.
HARMLESS = ("argparse", "collections", "datetime", "decimal", "enum", "functools", "pathlib", "typing", "uuid")
TORCHS = ("torch.nn.", "torch.optim.")


class Inert:
    """Stands for an object of a class that was not imported; takes whatever the pickle does to it.

    Attributes:
        named: The dotted path of that class.
    """

    named: ClassVar[str] = ""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Keeps nothing."""

    def __setstate__(self, state: Any) -> None:
        """Keeps nothing."""


def read(path: Path) -> Any:
    """What a file that torch.save wrote holds, with Inert objects for those of classes beyond tensors.

    Raises:
        ValueError: When it names what may run code rather than hold data, or cannot be read so.
    """
    import torch

    try:
        named = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
        if running := [n for n in named if _runs(n)]:
            raise ValueError(f"it names {running[0]}")
        # By module and name, as the pickle has it; none of them is looked up.
        stand_ins: list[Any] = [(type("Inert", (Inert,), {"named": n}), n) for n in named]
        with torch.serialization.safe_globals(stand_ins):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # the unpickler raises anything
        raise ValueError(str(e)) from e


def left_out(held: Any) -> list[str]:
    """The classes of what stands in a checkpoint as Inert."""
    values = held.values() if isinstance(held, Mapping) else held if isinstance(held, (list, tuple)) else ()
    found = {n for value in values for n in left_out(value)}
    kind = held if isinstance(held, type) else type(held)
    return sorted(found | ({kind.named} if issubclass(kind, Inert) else set()))


def _runs(name: str) -> bool:
    if name.startswith(TORCHS):
        return False
    top = name.partition(".")[0]
    return top not in HARMLESS and (top in sys.stdlib_module_names or top == "torch")
