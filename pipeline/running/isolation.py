"""Runs stages in a separate process with limits: a crash, a hang or a lack of memory ends only that stage.

Imports cost seconds, so one process serves all stages and jobs of this process, and is restarted only when it has died.
A stage that dies in a used process gets a second try in a new one, since the state or the imports of earlier stages may
be the cause. So limits mean the same whatever ran before.

Memory is watched from outside, by the resident set, and a stage above the limit is killed. A limit by the
kernel does not work: torch reserves 3.4 GiB of address space (RLIMIT_AS) where it uses 0.6; and a stage can catch a
failed allocation and would then make another result under the same key.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline import units
from pipeline.artifact import Artifact, Origin
from pipeline.errors import ConfigError, Problem, StageError, Stopped
from pipeline.stage import Stage

# Not one of our loggers, so it reaches the log file alone.
log = logging.getLogger("worker")

STATM = "/proc/{}/statm"
WATCH_SECONDS = 0.05  # how often memory is looked at
ALIVE_SECONDS = 0.5  # how often a worker that says nothing is looked after
SEARCH_SECONDS = 60.0  # for the piece of the work that a process died of
PIECE_SECONDS = 20.0


@dataclass(frozen=True)
class Isolation:
    """The process in which isolable stages run, with its limits.

    Args:
        memory: Bytes that the process may hold, its libraries included; None for no limit.
        timeout: Seconds that one stage may take, the start of the process included; None for no limit.
    """

    memory: int | None = None
    timeout: float | None = None

    @staticmethod
    def takes(stage: Stage, inputs: Mapping[str, Artifact]) -> bool:
        """Whether a stage can run there: all its inputs must be files."""
        return stage.isolable and all(a.folder is not None for a in inputs.values())

    def prepare(self, modules: Sequence[str]) -> None:
        """Starts the process and its imports, while this one goes on with other work."""
        with contextlib.suppress(_Ended, OSError):  # the stage that meets it again says it
            _worker().prepare(modules)

    def run(self, stage: Stage, inputs: Mapping[str, Artifact], folder: Path) -> tuple[Artifact, int]:
        """The stage's result, and the largest resident set of its process in bytes.

        Raises:
            DrydockError: As the stage raised it; StageError when its process crashed, Stopped when it was ended.
            Exception: One with the name and the message of any other exception of the stage.
        """
        worker = _worker()
        try:
            return worker.run(stage, inputs, folder, self)
        except _Ended as e:
            if e.final or worker.new:
                raise self._error(e, stage, inputs) from None
            log.info("process %d, after %d other stages, %s; once more in a new one", worker.pid, worker.ran, e.how)
        _empty(folder)
        try:
            return _worker().run(stage, inputs, folder, self)
        except _Ended as e:
            raise self._error(e, stage, inputs) from None

    def _error(self, ended: _Ended, stage: Stage, inputs: Mapping[str, Artifact]) -> StageError:
        piece = self._piece(stage, inputs) if ended.crashed else ""
        raised = StageError if ended.crashed else Stopped
        return raised(f"its process {ended.how}{f', at {piece}' if piece else ''}", command=ended.command)

    def _piece(self, stage: Stage, inputs: Mapping[str, Artifact]) -> str:
        """The part of a stage's work that also crashes alone in a process; empty where there is none."""
        until = time.monotonic() + SEARCH_SECONDS
        limits = replace(self, timeout=PIECE_SECONDS)
        with tempfile.TemporaryDirectory() as place:
            try:
                for number, (name, part, part_inputs) in enumerate(stage.parts(inputs, Path(place))):
                    if time.monotonic() > until:
                        break
                    folder = Path(place, f"part{number}")
                    folder.mkdir()
                    try:
                        _worker().run(part, part_inputs, folder, limits)
                    except _Ended as e:
                        if e.crashed:
                            return name
                    except Exception as e:  # a piece may be refused where the whole was not
                        log.debug("%s alone: %s", name, e)
            except Exception:  # the search for a cause must not hide the failure
                log.info("the pieces cannot be told apart", exc_info=True)
        return ""


def from_settings(settings: Mapping[str, Any]) -> Isolation | None:
    """The isolation that `runner` in the configuration sets; None when every stage runs in this process.

    Args:
        settings: isolate, memory and timeout; see conf/config.yaml.

    Raises ConfigError.
    """
    memory, timeout = settings["memory"], settings["timeout"]
    limit = None if memory is None else units.parsed_size(memory)
    problems = []
    if memory is not None and limit is None:
        problems.append(Problem(f"runner.memory is {memory}", allowed="null, or a size such as 512MiB or 8GiB"))
    elif limit == 0:
        problems.append(Problem(f"runner.memory is {memory}", allowed="null, or a size above 0, such as 8GiB"))
    elif memory is not None and not Path(STATM.format("self")).exists():
        problems.append(
            Problem(
                f"runner.memory is {memory}, and only on Linux can the memory of a process be watched",
                allowed="null",
                command="runner.memory=null",
            )
        )
    if timeout is not None and not timeout > 0:
        problems.append(Problem(f"runner.timeout is {timeout}", allowed="null, or a number of seconds above 0"))
    limits = [f"runner.{name}" for name in ("memory", "timeout") if settings[name] is not None]
    if limits and settings["isolate"] is False:
        problems.append(
            Problem(
                f"runner.isolate is false, and {' and '.join(limits)} can limit only what is isolated",
                command=f"runner.isolate=true, or {' '.join(f'{limit}=null' for limit in limits)}",
            )
        )
    if problems:
        raise ConfigError(problems)
    return Isolation(limit, timeout) if settings["isolate"] else None


# Work of this process that can wait, each once: done while a stage runs elsewhere without limits.
meanwhile: list[Callable[[], object]] = []


class _Ended(Exception):
    """A worker that ended before its stage did.

    Args:
        how: How the process ended, as the end of a sentence.
        command: What to type.
        final: Whether a new worker would end the same way.
        crashed: Whether its own code crashed it.
    """

    def __init__(self, how: str, command: str, *, final: bool = False, crashed: bool = False) -> None:
        super().__init__(how)
        self.how = how
        self.command = command
        self.final = final
        self.crashed = crashed


class _Raised(Exception):
    """The traceback of an exception that was raised in the other process, as its cause."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class _Worker:
    """The process, and a connection to it.

    Attributes:
        owner: The process that may use it: a fork of ours must start its own.
        ran: How many stages it has run.
        new: Whether it has done nothing for any other stage.
    """

    def __init__(self) -> None:
        from multiprocessing.connection import Pipe  # here, so that a run without a worker never pays for it

        self.owner = os.getpid()
        self.ran = 0
        self.new = True
        # A file, which unlike a pipe never blocks who writes to it, and still has a crash's last words.
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process is)
        self._connection, theirs = Pipe()
        # It finds what this process finds, a user's own stages too, and nothing of the current folder's.
        paths = os.pathsep.join(p or str(Path.cwd()) for p in sys.path)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "pipeline.running.worker", str(theirs.fileno()), str(self.owner)],
                stdin=subprocess.DEVNULL,
                stdout=self._words,
                stderr=self._words,
                pass_fds=[theirs.fileno()],
                process_group=0,  # Ctrl-C is for us, and what it has started is ended with it
                env={**os.environ, "PYTHONPATH": paths},
            )
        self.pid = self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def prepare(self, modules: Sequence[str]) -> None:
        self.new = False
        self._send(("import", modules))

    def run(
        self, stage: Stage, inputs: Mapping[str, Artifact], folder: Path, limits: Isolation
    ) -> tuple[Artifact, int]:
        """See Isolation.run. Raises _Ended, after which this worker is of no more use."""
        log.info("%s runs in process %d, its stage number %d", type(stage).__name__, self.pid, self.ran + 1)
        # Ours to remove, since the process may be killed.
        with tempfile.TemporaryDirectory(prefix="drydock-", ignore_cleanup_errors=True) as temporary:
            return self._run(stage, inputs, folder, limits, {**os.environ, "TMPDIR": temporary})

    def _run(
        self,
        stage: Stage,
        inputs: Mapping[str, Artifact],
        folder: Path,
        limits: Isolation,
        environ: Mapping[str, str],
    ) -> tuple[Artifact, int]:
        around = {"cwd": str(Path.cwd()), "environ": environ, "level": logging.getLogger().level}
        origins = {port: a.origin for port, a in inputs.items()}
        around["origins"] = {port: _origin_state(o) for port, o in origins.items() if o is not None}
        try:
            self._send(("run", stage, {port: _bare(a) for port, a in inputs.items()}, folder, around))
            while meanwhile and limits == Isolation():
                meanwhile.pop()()
            answer, *reply = self._answer(origins, limits)
        except BaseException:  # an interruption too: nobody waits for what it is doing
            self.end()
            raise
        self.ran += 1
        self.new = False
        self._tell()
        if answer == "result":
            return reply[0], reply[1]
        kind, what, trace = reply
        if answer == "refused":
            raise kind(what) from _Raised(trace)
        # Not the exception itself, which may not survive a pickle, and would have its vendor imported here.
        raise type(kind, (Exception,), {"__module__": "worker"})(what) from _Raised(trace)

    def end(self) -> None:
        """Ends the process and what it has started, whatever they are doing."""
        if self._words.closed:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._connection.close()
        self._tell()
        self._words.close()

    def _send(self, message: tuple[Any, ...]) -> None:
        self._send_bytes(pickle.dumps(message))

    def _send_bytes(self, message: bytes) -> None:
        try:
            self._connection.send_bytes(message)
        except ConnectionError:
            raise self._died() from None

    def _answer(self, origins: Mapping[str, Origin | None], limits: Isolation) -> tuple[Any, ...]:
        """Its answer. Until then, log records are passed on and requests for artifacts served. Raises _Ended."""
        timeout = limits.timeout or math.inf
        until = time.monotonic() + timeout
        wait = ALIVE_SECONDS if limits.memory is None else WATCH_SECONDS
        while True:
            if self._connection.poll(max(0.0, min(wait, until - time.monotonic()))):
                try:
                    message: tuple[Any, ...] = self._connection.recv()
                except (EOFError, ConnectionError):
                    raise self._died() from None
                if message[0] == "log":
                    _log(*message[1:])
                elif message[0] == "open":
                    self._send_bytes(_opened(origins[message[1]], message[2]))
                else:
                    return message
            elif not self.alive:  # while something that it has started holds the connection open
                raise self._died()
            if time.monotonic() >= until:
                how = f"was ended after runner.timeout={timeout:g} seconds"
                raise _Ended(how, f"runner.timeout={2 * timeout:g}, or null for no limit", final=True)
            if limits.memory is not None and (resident := self._resident()) > limits.memory:
                limit, more = units.size_setting(limits.memory), units.size_setting(2 * limits.memory)
                how = f"was ended when it held {units.size(resident)}, above runner.memory={limit}"
                raise _Ended(how, f"runner.memory={more}, or null for no limit")

    def _died(self) -> _Ended:
        code = self._process.wait()
        if code >= 0:
            return _Ended(f"ended by itself with code {code}", "see the log for its last words")
        if code == -signal.SIGKILL:
            how = "was killed by somebody, probably the kernel for lack of memory"
            return _Ended(how, "fewer jobs at once, or a machine with more memory")
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        how = f"died of {name}, {signal.strsignal(-code)}"
        return _Ended(how, "see the log for the line that it was at", crashed=True)

    def _resident(self) -> int:
        try:
            pages = int(Path(STATM.format(self.pid)).read_text().split()[1])
        except OSError:  # it is gone, which the connection says too
            return 0
        return pages * resource.getpagesize()

    def _tell(self) -> None:
        """Moves what it has written to its stdout and stderr to the log. The place in the file is shared with it."""
        self._words.seek(0)
        words = self._words.read().decode(errors="replace").strip()
        self._words.seek(0)
        self._words.truncate()
        if words:
            log.info("process %d: %s", self.pid, words)


def _bare(artifact: Artifact) -> Artifact:
    """The part of an artifact that can go to another process: its files, kind and facts."""
    return replace(artifact, live=None, origin=None)


def _origin_state(origin: Origin | None) -> tuple[str, bool] | None:
    return None if origin is None else (origin.stage, origin.source is not None)


def _log(name: str, level: int, text: str, traceback: str | None) -> None:
    """Logs what a worker logged."""
    logger = logging.getLogger(name)
    record = logger.makeRecord(name, level, "", 0, "%s", (text,), None)
    record.exc_text = traceback
    if logger.isEnabledFor(level):
        logger.handle(record)


def _opened(origin: Origin | None, back: int) -> bytes:
    """The artifact `back` steps before another one, pickled, for a stage that requests it; or the error instead.

    A module that is only in memory is pickled itself, if possible.
    """
    try:
        for _ in range(back):
            assert origin is not None
            assert origin.source is not None
            artifact = origin.source()
            origin = artifact.origin
        sent = replace(artifact, origin=None) if artifact.folder is None else _bare(artifact)
        # Not by multiprocessing's own pickler, which torch has send files that stand for memory.
        return pickle.dumps(("opened", sent, _origin_state(origin)))
    except Exception as e:
        log.info("what is %d steps before cannot be opened", back, exc_info=True)
        return pickle.dumps(("failed", f"{type(e).__name__}: {e}"))


_current: _Worker | None = None


def _worker() -> _Worker:
    """The worker process; starts one when there is none, or when it has died."""
    global _current
    if _current is not None and _current.owner == os.getpid():
        if _current.alive:
            return _current
        _current.end()
    _current = _Worker()
    return _current


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
