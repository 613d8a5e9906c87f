"""What a bucket is asked, each within a limit of time, and what it may answer.

Times: a small answer within ANSWER_SECONDS, and a run waits WAITED_SECONDS for all of them together; a file within
PATIENCE_SECONDS and a second for each SLOWEST bytes. Who is slower than that is as good as not there.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from pipeline.errors import ConfigError
from pipeline.remote.address import Address
from pipeline.remote.loop import Loop
from pipeline.remote.names import FORMAT, FORMAT_NAME
from pipeline.store.files import LARGEST_JSON, FileRecord

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

T = TypeVar("T")
ANSWER_SECONDS = 8.0
WAITED_SECONDS = 30.0
PATIENCE_SECONDS = 20.0
SLOWEST = 2**20
CONNECT_SECONDS = 4
# Files of more than this go in parts of this size, several at once. S3 takes 10,000 parts at most.
PART = 8 * 2**20
MOST_PARTS = 9000
AT_ONCE = 4
# What AWS's own tools read as well.
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


class Unavailable(Exception):
    """A bucket did not do what it was asked.

    Args:
        why: In a few words, without secrets.
        denied: Whether it refused us, and may well serve others.
    """

    def __init__(self, why: str, *, denied: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.denied = denied


class Altered(Exception):
    """A file in a bucket is not what its name says, or not there."""


class Bucket:
    """A bucket, or what serves as one, by obstore: S3, Google Cloud Storage, Azure, a web server, a folder.

    One for the process, as are what it came to: off is why it is not asked any more, closed why it is not written to.

    Args:
        address: Where it is.

    Raises ConfigError when it cannot be had with what the environment says.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.loop = Loop()
        self.why_off = ""
        self.closed = ""
        self.empty = False
        self.said: set[str] = set()
        self.waited = 0.0
        self.moved = 0
        self._pid = os.getpid()
        self._parts = asyncio.Semaphore(AT_ONCE)
        self._format = asyncio.Lock()
        self._marked: bool | None = None
        self._store = _connect(address)

    @property
    def off(self) -> str:
        """Why it is not asked any more; empty while it is."""
        return self.why_off if os.getpid() == self._pid else "this process is a fork of the one that asked it first"

    async def check_format(self) -> None:
        """Looks, the first time, who wrote what is there. Raises Unavailable for another format, and a refusal."""
        async with self._format:
            if self._marked is None:
                read = await self.read(FORMAT_NAME)
                self._marked, self.empty = read is not None, read is None
                if read is not None and (found := _json(read)) != FORMAT:
                    self._marked = None
                    raise Unavailable(f"it was written in format {str(found)[:60]}, and this version reads {FORMAT}")

    async def put_format(self) -> None:
        """Says, the first time, in which format it is written. Raises Unavailable."""
        await self.check_format()
        if not self._marked:
            await self.write(FORMAT_NAME, json.dumps(FORMAT).encode())
            self._marked = True

    async def read_if_allowed(self, name: str) -> bytes | None:
        """A small thing; None where there is none, as far as we may know: S3 denies it to who may not list."""
        try:
            return await self.read(name)
        except Unavailable as e:
            if not e.denied:
                raise
            await self.check_format()  # otherwise we may not read at all
            return None

    async def read(self, name: str, most: int = LARGEST_JSON) -> bytes | None:
        """A small thing; None where there is none. Raises Unavailable."""
        import obstore

        async def get() -> bytes:
            answer = await obstore.get_async(self._store, name)
            content = bytearray()
            async for part in answer.stream(min_chunk_size=2**16):
                content += part
                if len(content) > most:
                    raise Unavailable(f"{name} is larger than {most} bytes")
            return bytes(content)

        try:
            return await _within(ANSWER_SECONDS, get())
        except _Missing:
            return None

    async def size(self, name: str) -> int | None:
        """How many bytes a thing has; None where there is none. Raises Unavailable."""
        import obstore

        try:
            return int((await _within(ANSWER_SECONDS, obstore.head_async(self._store, name)))["size"])
        except _Missing:
            return None

    async def write(self, name: str, content: bytes, *, replace: bool = False) -> bool:
        """Writes a small thing, whole or not at all.

        Args:
            name: Its name.
            content: What it holds.
            replace: Whether it takes the place of what is there. Otherwise the first writer wins.

        Returns whether it was written. Raises Unavailable.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError

        mode: Any = "overwrite" if replace else "create"
        limit = ANSWER_SECONDS + len(content) / SLOWEST
        try:
            await _within(limit, obstore.put_async(self._store, name, content, mode=mode, use_multipart=False))
        except AlreadyExistsError:
            return False
        except _Missing as e:  # an answer to writing: there is no such bucket
            raise Unavailable(e.why) from e
        return True

    async def upload(self, name: str, path: Path, record: FileRecord) -> None:
        """Writes a file; a large one in parts, of which none can be seen before all are there.

        Raises Altered for a file that is not what the record says, Unavailable, and OSError for one not to be read.
        """
        with path.open("rb") as file:
            if record.size <= PART:
                content = file.read()
                if hashlib.sha256(content).hexdigest() != record.sha256:
                    raise Altered(str(path))
                async with self._parts:
                    await self.write(name, content, replace=True)
                self.moved += record.size
                return
            try:
                await _within(limit_of(record.size), self._upload_parts(name, file, record))
            except _Missing as e:
                raise Unavailable(e.why) from e

    async def _upload_parts(self, name: str, file: BinaryIO, record: FileRecord) -> None:
        import obstore

        part = max(PART, -(-record.size // MOST_PARTS))
        failed: list[Exception] = []

        async def parts() -> AsyncIterator[bytes]:
            seen = hashlib.sha256()
            try:
                while content := file.read(part):
                    seen.update(content)
                    yield content
                    self.moved += len(content)
                if seen.hexdigest() != record.sha256:
                    raise Altered(file.name)
            except (OSError, Altered) as e:  # ends the upload before it can be seen
                failed.append(e)
                raise

        try:
            await obstore.put_async(self._store, name, parts(), chunk_size=part, max_concurrency=AT_ONCE)
        except Exception as e:
            raise (failed[0] if failed else e) from e

    async def download(self, name: str, path: Path, record: FileRecord) -> None:
        """Writes a file from what is there, hashed while it arrives; a large one in parts, several at once.

        Raises Altered for what is not as the record says, Unavailable, and OSError for a file that cannot be written.
        """
        seen, count = hashlib.sha256(), 0
        with path.open("xb") as file:
            async for content in self._content(name, record):
                count += len(content)
                if count > record.size:
                    raise Altered(name)
                seen.update(content)
                file.write(content)
                self.moved += len(content)
        if seen.hexdigest() != record.sha256:
            raise Altered(name)

    async def _content(self, name: str, record: FileRecord) -> AsyncIterator[bytes]:
        """The parts of a file in order, the next ones on their way while one is used."""
        import obstore

        until = time.monotonic() + limit_of(record.size)
        if record.size <= PART or self.address.scheme in ("http", "https"):  # not every web server gives parts
            async with self._parts:
                answer = await _whole(_within(limit_of(record.size), obstore.get_async(self._store, name)), name)
                stream = aiter(answer.stream(min_chunk_size=2**20))
                while (content := await _whole(_within(until - time.monotonic(), _next(stream)), name)) is not None:
                    yield bytes(content)
            return

        async def get(start: int) -> bytes:
            async with self._parts:
                end = min(start + PART, record.size)
                left = until - time.monotonic()
                part = obstore.get_range_async(self._store, name, start=start, end=end)
                return bytes(await _whole(_within(left, part), name))

        starts = iter(range(0, record.size, PART))
        ahead = [asyncio.ensure_future(get(start)) for _, start in zip(range(AT_ONCE), starts, strict=False)]
        try:
            while ahead:
                content = await ahead.pop(0)
                ahead += [asyncio.ensure_future(get(start)) for _, start in zip(range(1), starts, strict=False)]
                yield content
        finally:
            for part in ahead:
                part.cancel()
            await asyncio.gather(*ahead, return_exceptions=True)


def limit_of(size: int) -> float:
    """How many seconds so many bytes may take."""
    return PATIENCE_SECONDS + size / SLOWEST


class _Missing(Exception):
    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


async def _whole(asked: Awaitable[T], name: str) -> T:
    """An answer that has to be there. Raises Altered."""
    try:
        return await asked
    except _Missing as e:
        raise Altered(name) from e


async def _next(stream: AsyncIterator[Any]) -> Any | None:
    return await anext(stream, None)


async def _within(seconds: float, asked: Awaitable[T]) -> T:
    """An answer within so many seconds. Raises _Missing for what is not there, and Unavailable."""
    from obstore.exceptions import (
        AlreadyExistsError,
        BaseError,
        PermissionDeniedError,
        UnauthenticatedError,
    )

    try:
        return await asyncio.wait_for(_awaited(asked), max(seconds, 0.1))
    except (AlreadyExistsError, Unavailable, Altered, _Missing):
        raise
    except TimeoutError:
        raise Unavailable(f"no answer within {seconds:.1f} s") from None
    except FileNotFoundError as e:
        if "NoSuchBucket" in str(e):
            raise Unavailable("there is no such bucket") from e
        raise _Missing(_reason(e)) from e
    except (PermissionDeniedError, UnauthenticatedError, PermissionError) as e:
        raise Unavailable(_reason(e), denied=True) from e
    except (BaseError, ValueError, NotImplementedError) as e:
        raise Unavailable(_reason(e)) from e


async def _awaited(asked: Awaitable[T]) -> T:
    return await asked


def _connect(address: Address) -> ObjectStore:
    """The store of an address, with the credentials that the environment has. Raises ConfigError."""
    from obstore.store import LocalStore, from_url

    # Our own limits are shorter than the client's, which knows no sizes.
    client: ClientConfig = {"connect_timeout": timedelta(seconds=CONNECT_SECONDS), "timeout": timedelta(hours=6)}
    endpoint = next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), "")
    if address.scheme == "http" or (address.scheme == "s3" and endpoint.startswith("http://")):
        client["allow_http"] = True
    retry: RetryConfig = {"max_retries": 2, "retry_timeout": timedelta(seconds=ANSWER_SECONDS)}
    try:
        if address.folder is not None:
            return LocalStore(address.folder, mkdir=True)
        return from_url(address.url, client_options=client, retry_config=retry)
    except Exception as e:  # of Rust, as several classes
        raise ConfigError(f"remote={address} cannot be had: {_reason(e)}", command="remote=null") from e


def _json(content: bytes) -> Any | None:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _reason(error: BaseException) -> str:
    """What a client said, on one short line, without the query of a URL, which may be a signature."""
    text = str(error).partition("\n\nDebug source")[0]
    status = re.search(r"status code: (\d{3}[ A-Za-z]*)", text)
    code = re.search(r"<Code>(\w+)</Code>", text)
    if status:
        return " ".join(part for part in (status[1].strip(), code[1] if code else "") if part)
    first = re.sub(r"\?\S+", "", text.partition("\n")[0])
    return first.rpartition(" - ")[2][:200] or type(error).__name__


@functools.cache
def bucket_at(address: Address) -> Bucket:
    """The bucket at an address, one for the process. Raises ConfigError."""
    return Bucket(address)
