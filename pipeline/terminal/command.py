"""How each of our commands runs in a shell: its streams, signals and exit code, and how it ends."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn, TextIO

from pipeline import disk, errors
from pipeline.errors import ConfigError, DrydockError
from pipeline.printable import shown, width_of
from pipeline.running.watchdog import interrupts
from pipeline.terminal import console

Say = Callable[[str], None]

# The terminal that stdout is, while it is kept for the result.
_terminals: list[TextIO] = []


def run(main: Callable[[Say], int]) -> NoReturn:
    """Runs a command other than the pipeline itself, which Hydra starts, and leaves with its exit code.

    Args:
        main: Gets a function that writes a text to stdout, and returns the exit code. What anything else writes to
            stdout goes to stderr.
    """
    open_streams()
    spare_collections()
    logging.raiseExceptions = False  # a log that cannot be written ends no run, and draws no traceback
    handler = console.StderrHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    for name in ("pipeline", "stages"):
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(logging.INFO)
        logging.getLogger(name).propagate = False
    logging.getLogger().addHandler(logging.NullHandler())
    logging.captureWarnings(True)
    helps = {"-h", "--help"} & {*sys.argv[1:]}  # which argparse writes to stdout, and is the result then
    try:
        with interrupts(), contextlib.nullcontext(print) if helps else stdout_for_the_result() as say:
            import_from_here()
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
        code = console.show(disk.of_unknown(e) or bug(e))
    leave(code)


def bug(error: Exception) -> DrydockError:
    """The error that is shown for an unexpected exception."""
    text = f"a bug in Drydock: {type(error).__name__}: {error}"
    return DrydockError(text, command="HYDRA_FULL_ERROR=1 shows the traceback")


def import_from_here() -> None:
    """Makes packages of the current folder importable, as `python -m` does, for the console script too.

    Last, so that nothing of the user's shadows our own.
    """
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)


def leave(code: int) -> NoReturn:
    """Ends the process at once.

    Taking torch and the converters apart piece by piece costs up to two seconds, and a destructor that crashes then
    would turn a finished run into a failed one.
    """
    logging.shutdown()
    _flush()
    os._exit(code)


def open_streams() -> None:
    """Opens what the shell left closed, on nothing: the next file would get its number, and what is written to it."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.dup2(null := os.open(os.devnull, os.O_RDWR), number)
            if null != number:
                os.close(null)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # whoever read our output may have gone away
            stream.flush()


def spare_collections() -> None:
    """Makes garbage collections rarer.

    Imports and exporters make millions of objects that live until their stage ends; going through them again and again,
    as Python does by default, took a tenth of a cold run.
    """
    gc.set_threshold(50_000, 20, 50)


def columns() -> int | None:
    """The number of columns of the terminal at stdout; None where stdout is no terminal."""
    return width_of(_terminals[0]) if _terminals else None


@contextlib.contextmanager
def stdout_for_the_result() -> Iterator[Say]:
    """Sends what is written to stdout, by native libraries too, to stderr; gives a function that still reaches it.

    That raises ConfigError where stdout cannot be written, and on a terminal shows what the terminal would obey.
    """
    _flush()
    real = os.dup(1)
    terminal = open(real, "w", encoding="utf-8", closefd=False) if os.isatty(real) else None  # noqa: SIM115
    os.dup2(2, 1)

    def say(text: str) -> None:
        rest = f"{shown(text, terminal) if terminal else text}\n".encode(errors="surrogateescape")
        try:
            while rest:
                rest = rest[os.write(real, rest) :]
        except BrokenPipeError:
            pass  # whoever asked has gone away
        except OSError as e:
            raise ConfigError(
                f"stdout cannot be written: {e.strerror}", command="the same command, with its output to another place"
            ) from e

    _terminals[:] = [terminal] if terminal else []
    try:
        yield say
    finally:
        _terminals.clear()
        _flush()
        os.dup2(real, 1)
        os.close(real)
