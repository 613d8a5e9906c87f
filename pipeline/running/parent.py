"""Processes that end with their parent."""

from __future__ import annotations

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Lets the kernel end this process when `parent` ends, even in native code.

    On Linux, strictly when the thread that started it ends, which costs at most a restart. On other systems the process
    ends when it next reads a message: after its current stage.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
