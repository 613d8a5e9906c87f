"""Sends what vendors' libraries write to the screen to the log instead."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

# Not one of our loggers, so it reaches only the log file.
log = logging.getLogger("vendor")


@contextlib.contextmanager
def to_log(*, errors: bool = False) -> Iterator[None]:
    """Sends to the log what the block writes to stdout, also from C++, and what its thread writes to Python's stderr.

    torch prints whole graphs to both when it fails, and its own loggers write to stderr.

    Args:
        errors: Whether stderr of C++ goes there too. Then the message of a crash is lost, and other threads reach the
            screen only through Python's stderr.
    """
    sys.stderr.flush()
    descriptors = [1, 2] if errors else [1]
    with tempfile.TemporaryFile() as caught, contextlib.ExitStack() as undo:
        sys.stdout.flush()
        before = {fd: os.dup(fd) for fd in descriptors}
        display = sys.stderr
        if errors:  # a separate descriptor, so that a progress display keeps drawing
            display = undo.enter_context(os.fdopen(os.dup(2), "w"))
        screen = _OtherThreads(display)
        # Python's stdout need not be the descriptor's: notebooks and tests replace it.
        printed = undo.enter_context(open(caught.fileno(), "w", closefd=False, errors="replace"))
        for fd in descriptors:
            os.dup2(caught.fileno(), fd)
        try:
            with contextlib.redirect_stderr(screen), contextlib.redirect_stdout(printed):
                yield
        finally:
            printed.flush()
            for fd, original in before.items():
                os.dup2(original, fd)
                os.close(original)
            caught.seek(0)
            for text in (caught.read().decode(errors="replace").strip(), screen.caught.getvalue().strip()):
                if text:
                    log.info("%s", text)


class _OtherThreads:
    """A stderr for all threads except its creator's, whose text it catches: a progress display keeps drawing."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._thread = threading.get_ident()
        self.caught = io.StringIO()

    def write(self, text: str) -> int:
        stream = self.caught if threading.get_ident() == self._thread else self._stream
        return int(stream.write(text) or 0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
