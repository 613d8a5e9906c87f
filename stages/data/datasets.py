"""Samples from a torch.utils.data.Dataset, or any object with a length and an index."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import StageError, listed
from pipeline.stage import World, digest_of
from stages.data.rows import LABELS, Row, Rows, fitting
from stages.data.spec import existing
from stages.interface import factory
from stages.interface.interface import Interface
from stages.portable.vendor_errors import first_line


@dataclass(frozen=True)
class Dataset:
    """A torch.utils.data.Dataset, or any object with a length and an index.

    An item is a mapping of inputs by name, perhaps with labels; or the inputs in order, perhaps followed by a label.
    Its identity is its code and its arguments; files and folders among these count by their content.
    """

    path: str
    kwargs: Mapping[str, Any]

    def identity(self, world: World) -> Mapping[str, Any]:
        kwargs = {n: _content(v, world) for n, v in self.kwargs.items()}
        return {"dataset": self.path, "code": dict(world.code(self.path)), "kwargs": kwargs}

    def open(self, interface: Interface, seed: int) -> Rows:
        make = factory.find(self.path, "dataset", "a path such as my_pkg.data.Train")
        try:
            dataset = make(**self.kwargs)
            len(dataset)
        except Exception as e:  # a user's class raises anything
            raise StageError(
                f"dataset {self.path} failed with kwargs {dict(self.kwargs)}: {factory.message_of(e)}",
                allowed="a class or function that returns what has a length and can be indexed",
            ) from e
        return _DatasetRows(dataset, interface, self.path)


@dataclass(frozen=True)
class _DatasetRows(Rows):
    items: Any
    interface: Interface
    origin: str

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> Row:
        import numpy as np

        try:
            item = self.items[number]
        except Exception as e:  # a user's class raises anything
            raise StageError(f"dataset {self.origin}[{number}] failed: {factory.message_of(e)}") from e
        names = list(self.interface.inputs)
        if isinstance(item, Mapping):
            by_name = dict(item)
            label = next((by_name.pop(n) for n in (LABELS, "label") if n in by_name and n not in names), None)
        else:
            values = item if isinstance(item, (tuple, list)) else (item,)
            if len(values) not in (len(names), len(names) + 1):
                raise StageError(
                    f"dataset {self.origin}[{number}] has {len(values)} parts",
                    allowed=f"{listed(names)}, and perhaps a label after them; or a mapping by these names",
                )
            by_name = dict(zip(names, values, strict=False))
            label = values[-1] if len(values) > len(names) else None
        if missing := [n for n in names if n not in by_name]:
            raise StageError(
                f"dataset {self.origin}[{number}] has {listed(by_name)}, and no {listed(missing)}",
                allowed=f"{listed(names)}, and perhaps {LABELS}",
            )
        try:
            row = Row({n: np.asarray(by_name[n]) for n in names}, None if label is None else np.asarray(label))
        except Exception as e:  # a user's type raises anything
            raise StageError(
                f"dataset {self.origin}[{number}] has what is no array: {first_line(e)}",
                allowed="numbers, arrays, tensors in the CPU's memory that need no gradient",
            ) from e
        return fitting(row, self.interface, f"dataset {self.origin}[{number}]")


def _content(value: Any, world: World) -> Any:
    """An argument, with paths in it replaced by the digests of their files."""
    if isinstance(value, Mapping):
        return {name: _content(part, world) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_content(part, world) for part in value]
    if not isinstance(value, str) or (path := existing(value)) is None:
        return value
    if path.is_file():
        return {"sha256": digest_of(path, world, str(path))}
    files = sorted(Path(folder) / name for folder, _, names in os.walk(path, followlinks=True) for name in names)
    digests = [[p.relative_to(path).as_posix(), digest_of(p, world, str(p))] for p in files if p.is_file()]
    content = {"folder": hashlib.sha256(json.dumps(digests).encode()).hexdigest()}
    # A word such as train may be meant as a word, although a folder here has that name.
    return content if os.sep in value else {**content, "value": value}
