"""The results of a sweep by Python."""

from __future__ import annotations

import html
import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.api.result import Conversion
from pipeline.errors import DrydockError


@dataclass(frozen=True)
class Row:
    """One conversion of a sweep.

    Args:
        choices: Its values of the swept choices.
        result: The conversion; None where it failed.
        error: Why it failed; None where it did not.
    """

    choices: Mapping[str, Any]
    result: Conversion | None
    error: DrydockError | None

    @property
    def cells(self) -> dict[str, Any]:
        """Plain values: the choices, `status`, `error`, `worst`, `bytes`, `seconds` and `path`."""
        result = self.result
        errors = [check.worst for check in result.checks if check.worst is not None] if result else []
        delivered = next((o for o in result.stages if o.how == "delivered"), None) if result else None
        return {
            **self.choices,
            "status": "ok" if result else "failed",
            "error": "" if self.error is None else self.error.problems[0].what,
            "worst": errors[-1] if errors else None,
            "bytes": delivered.size if delivered else None,
            "seconds": round(result.seconds, 3) if result else None,
            "path": str(result.path) if result else None,
        }


@dataclass(frozen=True)
class Sweep:
    """A finished sweep: a table with a row for each conversion.

    Args:
        axes: What was swept over.
        rows: One for each combination, in order.
    """

    axes: Sequence[str]
    rows: Sequence[Row]

    @property
    def table(self) -> Any:
        """A pandas.DataFrame where pandas is installed, otherwise a list of mappings."""
        cells = [row.cells for row in self.rows]
        try:
            pandas = importlib.import_module("pandas")
        except ImportError:
            return cells
        return pandas.DataFrame(cells)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        rows = [[_shown(v) for v in row.cells.values()] for row in self.rows]
        heads = list(self.rows[0].cells) if self.rows else []
        widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
        lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in (heads, *rows))
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """HTML for notebooks."""
        heads = "".join(f"<th>{html.escape(name)}</th>" for name in (self.rows[0].cells if self.rows else ()))
        rows = "".join(
            f"<tr>{''.join(f'<td>{html.escape(_shown(v))}</td>' for v in row.cells.values())}</tr>" for row in self.rows
        )
        return f"<table><tr>{heads}</tr>{rows}</table>"


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.1e}" if isinstance(value, float) and 0 < abs(value) < 1e-2 else str(value)
