"""Checkpoints whose pickles name classes beside the weights: only the weights are read.

Training loops store their arguments, configurations and callbacks in the same file. torch's restricted unpickler reads
it, with an object that does nothing in place of each of these: no module is imported, and none of their code runs.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

# Python's own modules whose classes only hold data. A pickle that names other modules of Python is refused: they can
# run code.
HARMLESS = ("argparse", "collections", "datetime", "decimal", "enum", "functools", "pathlib", "typing", "uuid")
TORCHS = ("torch.nn.", "torch.optim.")


class Inert:
    """Replaces an object of a class that was not imported; accepts everything that the pickle does to it.

    Attributes:
        class_path: The dotted path of that class.
    """

    class_path: ClassVar[str] = ""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Keeps nothing."""

    def __setstate__(self, state: Any) -> None:
        """Keeps nothing."""


def read(path: Path) -> Any:
    """The content of a file that torch.save wrote, with Inert in place of objects that are no tensors or plain data.

    Raises:
        ValueError: When it names something that may run code, or cannot be read.
    """
    import torch

    try:
        paths = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
        if running := [n for n in paths if _runs(n)]:
            raise ValueError(f"it names {running[0]}")
        # By the dotted paths in the pickle; none of them is imported.
        stand_ins: list[Any] = [(type("Inert", (Inert,), {"class_path": n}), n) for n in paths]
        with torch.serialization.safe_globals(stand_ins):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # the unpickler raises anything
        raise ValueError(str(e)) from e


def left_out(content: Any) -> list[str]:
    """The classes of the objects that became Inert in a checkpoint."""
    values = content.values() if isinstance(content, Mapping) else content if isinstance(content, (list, tuple)) else ()
    classes = {n for value in values for n in left_out(value)}
    kind = content if isinstance(content, type) else type(content)
    return sorted(classes | ({kind.class_path} if issubclass(kind, Inert) else set()))


def _runs(name: str) -> bool:
    if name.startswith(TORCHS):
        return False
    top = name.partition(".")[0]
    return top not in HARMLESS and (top in sys.stdlib_module_names or top == "torch")
