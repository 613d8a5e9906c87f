"""Runs stages for the process that started it: `python -m pipeline.running.worker FD PARENT`; see isolation.py.

A native compiler that crashes ends this process only. Unpickling a stage imports it.
Messages are tuples, so that neither side needs a class of the other's:

    in    ("import", modules)  or  ("run", stage, inputs, folder, surroundings)
    out   ("log", logger, level, text)  and  ("open", port, steps back), any number, each answered; and to each "run"
          ("result", artifact, peak bytes), ("refused", class, problems, traceback) or ("raised", type, text, traceback)
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import gc
import importlib
import logging
import os
import pickle
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

from pipeline import formats
from pipeline.artifact import Artifact, Origin
from pipeline.errors import DrydockError, StageError
from pipeline.running import memory
from pipeline.running.meter import Meter
from pipeline.running.parent import die_with
from pipeline.stage import Stage


def main(fd: int, parent: int) -> NoReturn:
    """Handles messages until the connection closes."""
    die_with(parent)
    _die_first()
    os.set_inheritable(fd, False)  # what a stage starts would keep the connection open after us
    faulthandler.enable()  # which line of Python a crash was at
    gc.set_threshold(50_000, 20, 50)  # as pipeline/terminal/command.py, and for its reason
    speech = _Speech(Connection(fd))
    logging.getLogger().addHandler(_Forward(speech))
    logging.captureWarnings(True)
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            _obey(speech)
    os._exit(0)  # as every run of ours ends: taking the converters apart may crash


class _Speech:
    """The connection, for the threads of a stage too."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.RLock()  # a signal's handler may log while a record is on its way

    def say(self, *message: Any) -> None:
        with self._lock:
            self._connection.send(message)

    def hear(self) -> bytes:
        return self._connection.recv_bytes()

    def origin(self, port: str, state: tuple[str, bool] | None, back: int = 1) -> Origin | None:
        """The origin of a port's artifact, or of an artifact further back.

        Args:
            port: The port of the stage that runs.
            state: The stage, and whether it has a source; None where nothing is known.
            back: How many steps before the artifact its source is.
        """
        if state is None:
            return None
        return Origin(state[0], functools.partial(self._source, port, back) if state[1] else None)

    def _source(self, port: str, back: int) -> Artifact:
        """The artifact `back` steps before that of a port; the other process may have to build it first."""
        self.say("open", port, back)
        answer, *reply = pickle.loads(self.hear())
        if answer == "failed":
            raise StageError(reply[0])
        artifact, before = reply
        assert isinstance(artifact, Artifact)
        return replace(artifact, origin=self.origin(port, before, back + 1))


def _obey(speech: _Speech) -> None:
    message = speech.hear()
    # BaseException: a library's sys.exit is a failure of its stage too, and says so.
    try:
        order, *args = pickle.loads(message)
        if order == "run":
            speech.say("result", *_run(speech, *args))
        else:
            _import(*args)
    except ConnectionError:
        raise
    except DrydockError as e:
        speech.say("refused", type(e), e.problems, traceback.format_exc())
    except BaseException as e:
        speech.say("raised", type(e).__name__, str(e), traceback.format_exc())


def _run(
    speech: _Speech, stage: Stage, inputs: Mapping[str, Artifact], folder: Path, around: Mapping[str, Any]
) -> tuple[Artifact, int]:
    os.chdir(around["cwd"])
    os.environ.clear()
    os.environ.update(around["environ"])
    logging.getLogger().setLevel(around["level"])
    for port, state in around["origins"].items():
        inputs = {**inputs, port: replace(inputs[port], origin=speech.origin(port, state))}
    tempfile.tempdir = None  # it is looked up in TMPDIR again
    with Meter() as meter:
        result = stage.run(inputs, folder)
    memory.release()
    if isinstance(result, Artifact):
        result = replace(result, live=None, origin=None)  # what is only in memory stays in this one
    return result, meter.peak_bytes


def _import(modules: Sequence[str]) -> None:
    """Imports what stages to come will use. A failure is reported when a stage needs the module."""
    formats.block()
    for module in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(module)


class _Forward(logging.Handler):
    """Sends log records to the other process, as text, and their tracebacks apart: a screen does not show these."""

    def __init__(self, speech: _Speech) -> None:
        super().__init__()
        self._speech = speech

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(ConnectionError):
            traceback = logging.Formatter().formatException(record.exc_info) if record.exc_info else None
            self._speech.say("log", record.name, record.levelno, record.getMessage(), traceback)


def _die_first() -> None:
    """Makes a kernel that is out of memory end this process, not the one that runs the sweep."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
