"""Memory that a stage has freed goes back to the system."""

from __future__ import annotations

import contextlib


def release() -> None:
    """Gives freed memory back, where the C library is glibc.

    It keeps blocks below 32 MiB for this process: a gibibyte after a large model's reference, which the libraries of
    the next stages do not use.

    Source: https://man7.org/linux/man-pages/man3/malloc_trim.3.html
    """
    import ctypes  # here, as a warm run does without

    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
