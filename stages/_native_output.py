"""What native code writes to stdout: kept from a person's screen, kept in the log."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator

# Not one of our loggers, so it reaches the log file alone.
log = logging.getLogger("vendor")


@contextlib.contextmanager
def to_log() -> Iterator[None]:
    """Sends everything written to stdout in the block, by C++ too, to the log instead."""
    with tempfile.TemporaryFile() as caught:
        sys.stdout.flush()
        before = os.dup(1)
        os.dup2(caught.fileno(), 1)
        try:
            yield
        finally:
            sys.stdout.flush()
            os.dup2(before, 1)
            os.close(before)
            caught.seek(0)
            if text := caught.read().decode(errors="replace").strip():
                log.info("%s", text)
