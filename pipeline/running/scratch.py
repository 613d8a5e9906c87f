"""A folder for what a stage's libraries write to the system's temporary folder, removed when the stage ends.

Some remove it when the process ends, one a copy of the whole model; ours end without that: taking
converters apart may crash.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def folder() -> Iterator[None]:
    """Makes a new folder this process's temporary folder, and that of what it starts. Raises OSError.

    Only in the main thread: the folder is the whole process's, and several threads may convert at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before, variable = tempfile.tempdir, os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory(prefix="drydock-", ignore_cleanup_errors=True) as place:
        tempfile.tempdir = os.environ["TMPDIR"] = place
        try:
            yield
        finally:
            tempfile.tempdir = before
            os.environ.pop("TMPDIR")
            if variable is not None:
                os.environ["TMPDIR"] = variable
