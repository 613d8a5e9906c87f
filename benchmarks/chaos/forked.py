"""Work in a process forked from this one, which has imported everything; and whether any process is left."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

PR_SET_CHILD_SUBREAPER = 36
PATIENCE_SECONDS = 20.0  # a job takes a fiftieth of a second
LINGER_SECONDS = 5.0  # for a process that is about to end


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Args:
        status: Its exit code; the negative number of the signal that ended it; None where it hung and was killed.
        result: What it returned.
    """

    status: int | None
    result: Any = None

    @property
    def killed(self) -> bool:
        return self.status == -signal.SIGKILL


def adopt() -> None:
    """Has processes whose parent dies become children of this one, so that none is overlooked."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


class Fork:
    """A process that does some work, and says what came of it."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self._hears, tells = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._hears)
            with contextlib.suppress(BaseException):
                os.write(tells, json.dumps(_result_of(act)).encode())
            os._exit(0)
        os.close(tells)

    def end(self, patience: float = PATIENCE_SECONDS) -> Ended:
        """Waits for it."""
        until, received, hung = time.monotonic() + patience, b"", False
        while True:
            ready, _, _ = select.select([self._hears], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                hung = True
                os.kill(self.pid, signal.SIGKILL)
                break
            if not (more := os.read(self._hears, 1 << 16)):
                break
            received += more
        os.close(self._hears)
        _, status = os.waitpid(self.pid, 0)
        result = json.loads(received) if received else None
        return Ended(None if hung else os.waitstatus_to_exitcode(status), result)


def _result_of(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except BaseException:
        return {"code": 1, "told": traceback.format_exc(), "how": {}}


def run(act: Callable[[], Any]) -> Ended:
    """Does some work in a process of its own, and waits for it."""
    return Fork(act).end()


def leftovers() -> list[str]:
    """What is wrong where a process outlives those that this one waited for; they are ended."""
    until = time.monotonic() + LINGER_SECONDS
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return []
        if pid == 0 and time.monotonic() > until:
            return _end_all()
        if pid == 0:
            time.sleep(0.01)


def _end_all() -> list[str]:
    complaints = []
    with open(f"/proc/self/task/{os.getpid()}/children") as f:  # noqa: PTH123
        for pid in map(int, f.read().split()):
            complaints.append(f"process {pid} is left")
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return complaints
