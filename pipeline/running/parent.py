"""Processes that end with the one that they work for."""

from __future__ import annotations

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Has the kernel end this process with `parent`, whatever native code it is in.

    With the thread that started it, strictly, which costs a new start at most. Elsewhere than on Linux it ends when it
    next listens: after the stage that it is at.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
