"""A thread that waits for the network, so that its caller can stop waiting: at a limit, and at Ctrl-C."""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
TICK_SECONDS = 0.5


async def together(*works: Coroutine[Any, Any, T]) -> list[T]:
    """The results of coroutines that run at once. If one fails, the others are cancelled and its error is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def nothing() -> None:
    """The default for `tick`: does nothing."""


class Loop:
    """An event loop in a thread of its own, which ends with the process."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="remote", daemon=True).start()

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Starts a coroutine and does not wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T], tick: Callable[[], None] = nothing) -> T:
        """Runs a coroutine that has a limit of its own, and returns its result.

        An interruption cancels it.

        Args:
            work: The coroutine.
            tick: Called from time to time.
        """
        return self.wait(self.start(work), tick)

    def wait(self, future: Future[T], tick: Callable[[], None] = nothing) -> T:
        """The result of a coroutine that was started; see `run`."""
        try:
            self.done_by(future, math.inf, tick)
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def done_by(self, future: Future[Any], until: float, tick: Callable[[], None] = nothing) -> bool:
        """Waits until a started coroutine is done, at most until a time.monotonic(). Returns whether it is done."""
        while not future.done() and (seconds := until - time.monotonic()) > 0:
            concurrent.futures.wait([future], min(seconds, TICK_SECONDS))
            tick()
        return future.done()
