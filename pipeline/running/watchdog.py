"""Ends a process that Python cannot end: a signal's handler waits for native code to return, and some never does.

A signal writes a byte at once, whatever the main thread does. A thread of ours reads it, waits for the handler to run,
and otherwise ends the process: with the exit code, the message and the clean-up that `at_end` registered.
Native code that holds Python's lock, the GIL, blocks this thread too; converters and runtimes release it.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

from pipeline.errors import INTERRUPTED, Problem, StageError, Stopped

log = logging.getLogger(__name__)

INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # a person, a scheduler, a terminal that went away
PATIENCE_SECONDS = 5.0  # for native code to come back after a signal
AGAIN_SECONDS = 5.0  # until a time limit is raised again, should somebody swallow the first
LOOK_SECONDS = 0.05

# What is to be done before the end, the last first; gets the error of a time limit, or None for an interruption, and
# gives an exit code where it knows better.
AtEnd = Callable[[StageError | None], int | None]
_at_end: list[AtEnd] = []


class Expired(BaseException):
    """A time limit, raised wherever the main thread is; no Exception, which a vendor's fallback would catch."""


@contextlib.contextmanager
def at_end(call: AtEnd) -> Iterator[None]:
    """Registers a call for the case that the process must be ended in the block; it may not raise."""
    _at_end.append(call)
    try:
        yield
    finally:
        _at_end.remove(call)


@contextlib.contextmanager
def interrupts() -> Iterator[None]:
    """SIGTERM and SIGHUP end a run as Ctrl-C does: nothing half-written, exit code 130. What is ignored stays so."""
    _watch()
    before = {number: signal.getsignal(number) for number in INTERRUPTS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # nohup, or a shell's background
            signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def within(seconds: float | None, name: str) -> Iterator[None]:
    """Limits the time of what the main thread does in the block.

    Args:
        seconds: How long it may take; None for no limit.
        name: The stage's name, for messages without one.

    Raises Stopped.
    """
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    _watch()
    limit = Problem(
        f"it was ended after runner.timeout={seconds:g} seconds",
        command=f"runner.timeout={2 * seconds:g}, or null for no limit",
    )
    _state.limit = Stopped(limit.at(f"{name}: "))
    before = signal.signal(signal.SIGALRM, _expire)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_SECONDS)
    try:
        yield
    except Expired:
        raise Stopped(limit) from None
    finally:
        _state.limit = None  # first: an alarm that comes from here on would be raised in place of what follows
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@dataclass
class _State:
    """The state that the main thread shares with the watchdog.

    Args:
        handled: How many signals' handlers have run.
        limit: The error of the current time limit.
    """

    handled: int = 0
    limit: StageError | None = None


_state = _State()


def _interrupt(number: int, frame: FrameType | None) -> None:
    _state.handled += 1
    raise KeyboardInterrupt


def _expire(number: int, frame: FrameType | None) -> None:
    _state.handled += 1
    if _state.limit is not None:
        raise Expired


@functools.cache  # one for the process
def _watch() -> None:
    """Starts the watchdog. A fork has to start its own: its signals would be taken for ours."""
    came, come = os.pipe()
    os.set_blocking(come, False)
    os.set_blocking(came, False)
    signal.set_wakeup_fd(come, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=_forget)
    threading.Thread(target=_look, args=(came,), name="watchdog", daemon=True).start()


def _forget() -> None:
    with contextlib.suppress(ValueError):  # forked from another thread than the main one
        signal.set_wakeup_fd(-1)
    _watch.cache_clear()


def _look(came: int) -> None:
    while True:
        before = _state.handled  # first: a handler may have run before we hear of its signal
        select.select([came], [], [])
        numbers = _read(came)
        until = time.monotonic() + PATIENCE_SECONDS
        while _state.handled == before and time.monotonic() < until:
            time.sleep(LOOK_SECONDS)
        ours = [n for n in numbers if signal.getsignal(n) in (_interrupt, _expire)]
        if _state.handled != before:
            _read(came)  # of several that came at once, one handler has run for all
        elif ours:
            _end(_state.limit if ours == [signal.SIGALRM] else None)


def _read(came: int) -> bytes:
    with contextlib.suppress(BlockingIOError):
        return os.read(came, 4096)
    return b""


def _end(error: StageError | None) -> NoReturn:
    code = error.exit_code if error else INTERRUPTED
    log.error("%s", f"error: {error}" if error else "interrupted")
    log.error("native code did not come back within %g seconds, so the process is ended", PATIENCE_SECONDS)
    for call in reversed(_at_end):
        with contextlib.suppress(Exception):
            code = call(error) or code
    with contextlib.suppress(Exception):
        logging.shutdown()
    os._exit(code)
