"""Embedding tables: an artifact's rows are compared with the module's by their numbers.

Many rows are looked up by no question, or only at places that a mask hides, so no answer shows them.

A row is recorded as the sum of its numbers with fixed random signs, and the sum of their magnitudes: rounding each
number changes the first sum by at most a share of the second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

# By type of an artifact's table, the largest rounding of a number, as a share of it.
ROUNDED = {"float64": 2.0**-22, "float32": 2.0**-22, "float16": 2.0**-10}
OWN = 0.9  # a matrix is this table where so many of its rows agree
CHUNK = 2**12  # rows that are widened at once


@dataclass(frozen=True)
class Table:
    """A table that rows were looked up in.

    Args:
        name: Its parameter's.
        width: How many numbers a row has.
        seen: [rows], whether a question looked it up.
        marks: [rows], the sums under signs.
        sizes: [rows], the sums of magnitudes.
    """

    name: str
    width: int
    seen: Array
    marks: Array
    sizes: Array

    @property
    def shapes(self) -> Sequence[tuple[int, int]]:
        """The shapes that it may have in an artifact: its own, and transposed for a product."""
        return (len(self.seen), self.width), (self.width, len(self.seen))


def looked_up(module: Any, by_table: Mapping[str, Array]) -> Iterator[Table]:
    """A module's tables that rows were looked up in, by the name of the parameter."""
    parameters = dict(module.named_parameters())
    for name, rows in by_table.items():
        weight = parameters[name].detach().numpy()
        yield Table(name, weight.shape[1], rows, *_marks(weight))


def compared(tables: Sequence[Table], matrices: Sequence[Array]) -> tuple[list[str], dict[str, str]]:
    """What is wrong with an artifact's tables, a sentence each; and by name, why rows of others are not checked.

    Args:
        tables: The module's.
        matrices: The artifact's floating-point constants that have the shape of one of these tables.
    """
    wrong: list[str] = []
    not_compared: dict[str, str] = {}
    agreeing = {t.name: {i: _agreeing(t, m) for i, m in enumerate(matrices) if m.shape in t.shapes} for t in tables}
    right = {i for matching in agreeing.values() for i, rows in matching.items() if rows.all()}
    for table in tables:
        matching = agreeing[table.name]
        full = table.sizes > 0  # rows of zeros, as for padding, are equal in all tables
        # An artifact may hold several similar tables; a matrix that equals another table entirely is that table.
        own = [r for i, r in matching.items() if i not in right and full.any() and r[full].mean() >= OWN]
        if own:
            off = max(own, key=lambda rows: int(rows.sum()))
            first, count = int((~off).argmax()), int((~off).sum())
            wrong.append(f"row {first} of {table.name}" + (f" and {count - 1} more" if count > 1 else ""))
        elif not right & matching.keys() and (unseen := int((~table.seen).sum())):
            why = "the artifact has no such table in floating-point numbers"
            not_compared[table.name] = f"{unseen} rows that no question looks up: {why}"
    return wrong, not_compared


def _agreeing(table: Table, matrix: Array) -> Array:
    """Which rows equal the module's up to rounding."""
    import numpy as np

    marks, _ = _marks(matrix if matrix.shape == table.shapes[0] else matrix.T)
    rounding = ROUNDED[str(matrix.dtype)] * table.sizes + table.width * float(np.finfo(matrix.dtype).smallest_subnormal)
    agreeing: Array = np.abs(marks - table.marks) <= rounding
    return agreeing


def _marks(weight: Array) -> tuple[Array, Array]:
    import numpy as np

    signs = np.random.default_rng(weight.shape[1]).choice([-1.0, 1.0], weight.shape[1])
    marks, sizes = np.empty(len(weight)), np.empty(len(weight))
    for at in range(0, len(weight), CHUNK):
        rows = weight[at : at + CHUNK].astype("f8")
        marks[at : at + CHUNK], sizes[at : at + CHUNK] = rows @ signs, np.abs(rows).sum(1)
    return marks, sizes
