"""What each folder of a store had in it when it was last read, so that 100,000 results are listed within seconds.

A folder whose inode and time are not those of then is read anew. Nothing is removed, moved or copied by what an index
says: that is looked at on disk again.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline import disk
from pipeline.store.files import hidden, read_owned
from pipeline.store.root import Root

PLACE = "index"
SCHEMA = 2
# A folder that was changed so recently may be changed again within the resolution of its time.
SETTLED_SECONDS = 2.0
# Stands between the texts of a column.
BETWEEN = "\x7f"

Row = Sequence[Any]


class Index:
    """The index of a store, one user's own: what somebody else may have written is not believed.

    Args:
        root: The store's folder.
        ignored: Whether everything is read anew.
    """

    def __init__(self, root: Path, *, ignored: bool = False) -> None:
        self._root = Root(root)
        self._place = root / PLACE / str(os.geteuid())
        self._ignored = ignored

    def rows(self, folder: Path, read: Callable[[Path], Sequence[Row]]) -> Iterable[Row]:
        """The rows that `read` gives for a folder, plain JSON: from the index where the folder has not changed since.

        Raises OSError where it cannot be read.
        """
        at = folder.stat()
        stamp = [SCHEMA, at.st_dev, at.st_ino, at.st_mtime_ns]
        name = "-".join([read.__name__.strip("_"), *folder.relative_to(self._root.path).parts])
        then, rows = self.recall(name)
        if then == stamp:
            return rows
        rows = read(folder)
        if time.time() - at.st_mtime > SETTLED_SECONDS:
            self.keep(name, stamp, rows)
        return rows

    def recall(self, name: str) -> tuple[Any, Iterable[Row]]:
        """The stamp and the rows that were kept under a name; None and no rows where nothing was."""
        known, at = (None, None) if self._ignored else read_owned(self._place / f"{name}.json")
        mine = at is not None and at.st_uid == os.geteuid() and not at.st_mode & 0o022
        if not mine or not isinstance(known, dict) or known.keys() != {"of", "columns"}:
            return None, ()
        columns = (c.split(BETWEEN) if isinstance(c, str) else c for c in known["columns"])
        return known["of"], zip(*columns, strict=True)

    def keep(self, name: str, stamp: Any, rows: Sequence[Row]) -> None:
        """Keeps rows under a name, where that can be: an index saves time and nothing else.

        They are kept as columns, those of texts as one text each, which is read three times as fast.
        """
        columns = [_joined(column) for column in zip(*rows, strict=True)]
        path = self._place / f"{name}.json"
        with contextlib.suppress(OSError):
            self._root.folder(path.parent)
            with hidden(path, 0o644) as beside:
                beside.write_text(
                    json.dumps({"of": stamp, "columns": columns}, separators=(",", ":")), encoding="utf-8"
                )
                disk.chmod(beside, 0o644)
                beside.replace(path)


def _joined(column: Row) -> str | Row:
    """A column of texts as one text, where that can be taken apart again."""
    joinable = all(isinstance(value, str) and BETWEEN not in value for value in column)
    return BETWEEN.join(column) if joinable else column
