"""What each of our commands is to the shell: its streams, its signals, its exit code, and how it ends."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

from pipeline import errors
from pipeline.errors import DrydockError
from pipeline.terminal import console

Say = Callable[[str], None]


def run(main: Callable[[Say], int]) -> NoReturn:
    """Runs a command other than the pipeline itself, which Hydra starts, and leaves with its exit code.

    Args:
        main: Gets a function that writes a text to stdout, and returns the exit code. What anything else writes to
            stdout goes to stderr.
    """
    spare_collections()
    handler = console.StderrHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    for name in ("pipeline", "stages"):
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(logging.INFO)
        logging.getLogger(name).propagate = False
    logging.getLogger().addHandler(logging.NullHandler())
    logging.captureWarnings(True)
    try:
        with sigterm_interrupts(), stdout_for_the_result() as say:
            code = main(say)
    except DrydockError as e:
        code = console.show(e)
    except KeyboardInterrupt:
        code = errors.INTERRUPTED
    except SystemExit as e:  # argparse has said what was wrong
        code = e.code if isinstance(e.code, int) else errors.USAGE
    except Exception as e:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            traceback.print_exc()
        print(
            f"error: a bug in Drydock: {type(e).__name__}: {e}\n  try:     HYDRA_FULL_ERROR=1 shows the traceback",
            file=sys.stderr,
        )
        code = errors.BUG
    leave(code)


def leave(code: int) -> NoReturn:
    """Ends the process at once.

    Taking torch and the converters apart piece by piece costs up to two seconds, and a destructor that crashes then
    would turn a finished run into a failed one.
    """
    logging.shutdown()
    with contextlib.suppress(OSError):  # whoever read our output may have gone away
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def spare_collections() -> None:
    """Has garbage collected less often.

    Imports and exporters make millions of objects that live until their stage ends; going through them again and again,
    as Python does by default, took a tenth of a cold run.
    """
    gc.set_threshold(50_000, 20, 50)


@contextlib.contextmanager
def stdout_for_the_result() -> Iterator[Say]:
    """Sends what is written to stdout, by native libraries too, to stderr; gives a function that still reaches it."""
    sys.stdout.flush()
    real = os.dup(1)
    os.dup2(2, 1)

    def say(text: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # whoever asked has gone away
            os.write(real, f"{text}\n".encode())

    try:
        yield say
    finally:
        sys.stdout.flush()
        os.dup2(real, 1)
        os.close(real)


@contextlib.contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """A scheduler's SIGTERM ends a run as Ctrl-C does: nothing half-written, exit code 130."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
