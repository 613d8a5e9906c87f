"""The source of samples, for calibration and for evaluation: a mapping with a kind of source and its settings.

{source: images, path: photos/}        photographs in a folder, or in one for each class, through the preprocessing
{source: arrays, path: samples.npz}    an array [samples, …] for each input by its name; labels by the name labels
{source: text, path: lines.txt, tokenizer: FOLDER}         a sample a line; of a .tsv, a label and a tab before each
{source: dataset, path: my_pkg.data.Train, kwargs: {…}}    a torch.utils.data.Dataset by its import path
{source: random}                       draws by the fills of the model's inputs: a test that it works, not of accuracy

In short, where a text is enough: a folder of photographs, a .npz file, the import path of a dataset.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RANDOM = "random"


def spelled(value: Any) -> Any:
    """The mapping that a short text means; anything else unchanged."""
    if not isinstance(value, str):
        return value
    if value.endswith(".npz"):
        return {"source": "arrays", "path": value}
    is_import = "." in value.strip(".") and os.sep not in value and existing(value) is None
    return {"source": "dataset" if is_import else "images", "path": value}


def is_random(spec: Any) -> bool:
    """Whether the samples are random draws."""
    return isinstance(spec, Mapping) and spec.get("source") == RANDOM


def pictures(spec: Any) -> bool:
    """Whether the samples are photographs, which become inputs by the preprocessing."""
    spec = spelled(spec)
    return isinstance(spec, Mapping) and spec.get("source") == "images"


def says(spec: Any) -> str:
    """The kind of a source in a word; RANDOM in capitals."""
    return "RANDOM draws" if is_random(spec) else str(spec["source"])


def existing(text: str) -> Path | None:
    """The file or folder that a text names; None where there is none."""
    try:
        path = Path(text).expanduser()
        return path if text and path.exists() else None
    except (OSError, RuntimeError):  # a text too long for a name; a user without a home
        return None
