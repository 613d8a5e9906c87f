"""What each folder of a store had in it when it was last read, so that 100,000 results are listed within seconds.

A folder whose inode and time are not those of then is read anew. Nothing is removed, moved or copied by what an index
says: that is looked at on disk again.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import disk
from pipeline.store.files import hidden, read_owned
from pipeline.store.root import Root

PLACE = "index"
SCHEMA = 1
# A folder that was changed so recently may be changed again within the resolution of its time.
SETTLED_SECONDS = 2.0


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

    def rows(self, folder: Path, read: Callable[[Path], Any]) -> Any:
        """What `read` gives for a folder, plain JSON: from the index where the folder has not changed since.

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

    def recall(self, name: str) -> tuple[Any, Any]:
        """What was kept under a name, and of what; None twice where nothing was."""
        known, at = (None, None) if self._ignored else read_owned(self._place / f"{name}.json")
        mine = at is not None and at.st_uid == os.geteuid() and not at.st_mode & 0o022
        if not mine or not isinstance(known, dict) or known.keys() != {"of", "rows"}:
            return None, None
        return known["of"], known["rows"]

    def keep(self, name: str, stamp: Any, rows: Any) -> None:
        """Keeps rows under a name, where that can be: an index saves time and nothing else."""
        path = self._place / f"{name}.json"
        with contextlib.suppress(OSError):
            self._root.folder(path.parent)
            with hidden(path, 0o644) as beside:
                beside.write_text(json.dumps({"of": stamp, "rows": rows}, separators=(",", ":")), encoding="utf-8")
                disk.chmod(beside, 0o644)
                beside.replace(path)
