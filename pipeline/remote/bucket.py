"""Requests to a bucket, each with a limit of time; the process of worker.py sends them.

A small answer must come within ANSWER_SECONDS, and a run waits WAITED_SECONDS for all of them together. A file must
move within PATIENCE_SECONDS plus a second for each SLOWEST bytes. A slower bucket counts as unreachable.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.remote.address import Address
from pipeline.remote.answers import Missing, Unavailable, received
from pipeline.remote.loop import Loop
from pipeline.remote.names import FORMAT, FORMAT_NAME
from pipeline.store.files import LARGEST_JSON, FileRecord

ANSWER_SECONDS = 8.0
WAITED_SECONDS = 30.0
PATIENCE_SECONDS = 20.0
SLOWEST = 2**20
# How many files of a result are transferred at once.
AT_ONCE = 8
# How long the worker may take beyond a limit: to start, and to report that the limit was passed.
GRACE_SECONDS = 5.0
WORKER = "pipeline.remote.worker"


class Bucket:
    """A bucket, or a folder or web server in its place.

    There is one for each address in a process. `why_off` is the reason why it gets no more requests, `closed` why it is
    not written to, `cautions` the messages that a person has seen about it.

    Args:
        address: Its address.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.loop = Loop()
        self.why_off = ""
        self.closed = ""
        self.empty = False
        self.cautions: set[str] = set()
        self.waited = 0.0
        self.bytes_moved = 0
        self._pid = os.getpid()
        self._format = asyncio.Lock()
        self._marked: bool | None = None
        self._moves = asyncio.Semaphore(AT_ONCE)
        self._starting = asyncio.Lock()
        self._worker: _Worker | None = None

    @property
    def off(self) -> str:
        """Why it gets no more requests; empty while it does."""
        return self.why_off if os.getpid() == self._pid else "this process is a fork of the one that asked it first"

    async def check_format(self) -> None:
        """Reads the format's mark, the first time. Raises Unavailable for another format, and for a refusal."""
        async with self._format:
            if self._marked is None:
                read = await self.read(FORMAT_NAME)
                if read is not None and (mark := _json(read)) != FORMAT:
                    raise Unavailable(f"it was written in format {str(mark)[:60]}, and this version reads {FORMAT}")
                self._marked, self.empty = read is not None, read is None

    async def put_format(self) -> None:
        """Writes the format's mark, the first time. Raises Unavailable."""
        await self.check_format()
        if not self._marked:
            await self.write(FORMAT_NAME, json.dumps(FORMAT))
            self._marked = True

    async def read_if_allowed(self, name: str) -> str | None:
        """A small text; None where there is none, and where S3 denies it: S3 also denies what is missing."""
        try:
            return await self.read(name)
        except Unavailable as e:
            if not e.denied:
                raise
            await self.check_format()  # otherwise reading is not allowed at all
            return None

    async def read(self, name: str) -> str | None:
        """A small text; None where there is none. Raises Unavailable."""
        try:
            return str(await self._ask("read", ANSWER_SECONDS, name=name, most=LARGEST_JSON))
        except Missing:
            return None

    async def size(self, name: str) -> int | None:
        """How many bytes there are under a name; None where there is none. Raises Unavailable."""
        try:
            async with self._moves:
                return int(await self._ask("size", ANSWER_SECONDS, name=name))
        except Missing:
            return None

    async def write(self, name: str, text: str, *, replace: bool = False) -> bool:
        """Writes a small text, whole or not at all.

        Args:
            name: Its name.
            text: The text.
            replace: Whether it replaces an existing text. Otherwise the first writer wins.

        Returns whether it was written. Raises Unavailable.
        """
        seconds = ANSWER_SECONDS + len(text) / SLOWEST
        return bool(await self._ask("write", seconds, name=name, text=text, replace=replace))

    async def upload(self, name: str, path: Path, record: FileRecord) -> None:
        """Uploads a file; a large one in parts, which become visible together at the end.

        Raises Altered for a file that differs from its record, Unavailable, and OSError for an unreadable file.
        """
        await self._move("upload", name, path, record)

    async def download(self, name: str, path: Path, record: FileRecord) -> None:
        """Downloads a file and hashes it while it arrives; a large one in parts, several at once.

        Raises Altered for a file that differs from its record, Unavailable, and OSError for one that cannot be written.
        """
        await self._move("download", name, path, record)

    async def _move(self, do: str, name: str, path: Path, record: FileRecord) -> None:
        seconds = limit_of(record.size)
        async with self._moves:
            await self._ask(do, seconds, name=name, path=str(path), size=record.size, sha256=record.sha256)

    async def _ask(self, do: str, seconds: float, **what: Any) -> Any:
        """An answer of the worker. Raises the error in the answer, and Unavailable."""
        async with self._starting:
            if self._worker is None:
                self._worker = await _Worker.started(self.address, self._count)
        return await self._worker.ask(do, seconds, what)

    def _count(self, count: int) -> None:
        self.bytes_moved += count


class _Worker(asyncio.Protocol):
    """This side of the worker process.

    Args:
        process: The process.
        count: Called with the bytes of files as they are transferred.
    """

    def __init__(self, process: subprocess.Popen[bytes], count: Callable[[int], None]) -> None:
        self._process = process
        self._count = count
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._rest = bytearray()
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def started(cls, address: Address, count: Callable[[int], None]) -> _Worker:
        """A new worker. Raises Unavailable."""
        ours, theirs = socket.socketpair()
        path = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))))
        with theirs:
            try:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", WORKER, str(theirs.fileno()), address.url],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    process_group=0,  # Ctrl-C is for us
                    env={**os.environ, "PYTHONPATH": path},
                )
            except OSError as e:
                raise Unavailable(f"no process can be started for it: {e.strerror}") from e
        _, worker = await asyncio.get_running_loop().create_connection(lambda: cls(process, count), sock=ours)
        return worker

    async def ask(self, do: str, seconds: float, what: dict[str, Any]) -> Any:
        """An answer within a number of seconds. Raises the error in the answer, and Unavailable."""
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._send({"id": number, "do": do, "with": {**what, "seconds": seconds}})
        try:
            return await asyncio.wait_for(answer, seconds + GRACE_SECONDS)
        except TimeoutError:
            raise Unavailable(f"no answer within {seconds:.1f} s") from None
        finally:
            del self._waiting[number]
            if answer.cancelled() and self._transport is not None:
                self._send({"cancel": number})

    def _send(self, line: dict[str, Any]) -> None:
        if self._transport is None:
            raise Unavailable("the process that asks it has ended")
        self._transport.write(json.dumps(line).encode() + b"\n")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._rest += data
        if b"\n" in data:
            *lines, rest = self._rest.split(b"\n")
            self._rest = bytearray(rest)
            for line in lines:
                self._take(json.loads(line))

    def _take(self, answer: dict[str, Any]) -> None:
        self._count(answer.get("moved", 0))
        waiting = self._waiting.get(answer.get("id", -1))
        if waiting is not None and not waiting.done():
            if (failed := answer.get("failed")) is not None:
                waiting.set_exception(received(failed))
            else:
                waiting.set_result(answer["ok"])

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(Unavailable("the process that asks it has ended"))


def limit_of(size: int) -> float:
    """How many seconds a number of bytes may take."""
    return PATIENCE_SECONDS + size / SLOWEST


def _json(text: str) -> Any | None:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def bucket_at(address: Address) -> Bucket:
    """The bucket at an address, one for the process."""
    return _bucket_at(address, os.getpid())


@functools.cache
def _bucket_at(address: Address, process: int) -> Bucket:
    return Bucket(address)
