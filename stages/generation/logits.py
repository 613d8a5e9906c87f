"""The logits of a model's continuations, for runtimes that give logits too.

A prompt by itself has one row: [steps, vocabulary], beginning with the token after the prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Artifact
from stages.portable import comparison
from stages.portable.comparison import Figures, Tolerance
from stages.portable.generating import Rows, TokenRecord

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    Array = np.ndarray[Any, Any]
    Arrays = Mapping[str, Array]

FILE = "logits.safetensors"


def write(logits: Arrays, folder: Path) -> None:
    """Writes the logits of prompts, by the labels of their batches."""
    import numpy as np
    from safetensors.numpy import save_file

    save_file({label: np.ascontiguousarray(rows) for label, rows in logits.items()}, folder / FILE)


def read(tokens: Artifact) -> Arrays:
    """The logits beside recorded tokens; empty where there are none."""
    path = tokens.file.with_name(FILE)
    if not path.is_file():
        return {}
    from safetensors.numpy import load_file

    return load_file(path)


def compared(
    label: str, actual: Sequence[Array], rows: Rows, expected: Array, record: TokenRecord, tolerance: Tolerance
) -> tuple[Figures | None, list[str]]:
    """The figures of a prompt's logits, and what is wrong with them, a sentence each.

    Logits after a token that differs from the model's belong to another text, and are left out.

    Args:
        label: The batch's.
        actual: [vocabulary] at each step.
        rows: The tokens that were chosen by them.
        expected: [steps, vocabulary].
        record: All recorded batches.
        tolerance: How far they may be off.
    """
    import numpy as np

    (picked,) = rows
    (theirs,) = next(b.tokens for b in record.batches if b.label == label)
    same = next((n for n, pair in enumerate(zip(picked, theirs, strict=False)) if pair[0] != pair[1]), None)
    steps = min(len(actual), len(expected), min(len(picked), len(theirs)) + 1 if same is None else same + 1)
    ours = np.stack(actual[:steps]).astype(expected.dtype)
    figures, wrong = comparison.compared({"logits": ours}, {"logits": expected[:steps]}, tolerance)
    return figures.get("logits"), [f"{label}, {steps} tokens one by one: {w}" for w in wrong]
