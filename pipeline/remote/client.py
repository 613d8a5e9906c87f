"""A bucket by obstore: S3, Google Cloud Storage, Azure, a web server, a folder. Runs in the process of worker.py alone.

The client retries after an answer 5xx, and gives up at the limit of each request.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import LocalStore, from_url

from pipeline.remote.address import Address
from pipeline.remote.answers import Altered, Missing, Unavailable

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

T = TypeVar("T")
CONNECT_SECONDS = 4
RETRY_SECONDS = 8
# Larger files are transferred in parts of this size, several at once. S3 accepts 10,000 parts at most.
PART = 8 * 2**20
MOST_PARTS = 9000
AT_ONCE = 4
# The variables that AWS's own tools read as well.
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


class Client:
    """The requests to a bucket; each has a limit, in seconds.

    Args:
        address: The bucket's address.
        count: Called with the bytes of files as they are transferred.

    Raises Unavailable when it cannot be opened with the environment's settings.
    """

    def __init__(self, address: Address, count: Callable[[int], None]) -> None:
        self._ranges = address.scheme not in ("http", "https")  # not every web server serves parts
        self._count = count
        self._parts = asyncio.Semaphore(AT_ONCE)
        self._store = _connect(address)

    async def read(self, name: str, most: int, seconds: float) -> str:
        """A small text of at most `most` bytes. Raises Missing, Unavailable."""

        async def get() -> bytes:
            answer = await obstore.get_async(self._store, name)
            content = bytearray()
            async for part in answer.stream(min_chunk_size=2**16):
                content += part
                if len(content) > most:
                    raise Unavailable(f"{name} is larger than {most} bytes")
            return bytes(content)

        return (await _within(seconds, get())).decode(errors="replace")

    async def size(self, name: str, seconds: float) -> int:
        """The size in bytes of the object under a name. Raises Missing, Unavailable."""
        return int((await _within(seconds, obstore.head_async(self._store, name)))["size"])

    async def write(self, name: str, text: str, replace: bool, seconds: float) -> bool:
        """Writes a small text, whole or not at all, and returns whether it did: the first writer wins.

        Args:
            name: Its name.
            text: The text.
            replace: Whether it replaces an existing text.
            seconds: The limit.

        Raises Unavailable.
        """
        return await self._put(name, text.encode(), seconds, replace=replace)

    async def upload(self, name: str, path: str, size: int, sha256: str, seconds: float) -> None:
        """Uploads a file; a large one in parts, which become visible together at the end.

        Raises Altered for a file that has another SHA-256, Unavailable, and OSError for one that cannot be read.
        """
        until = time.monotonic() + seconds
        with Path(path).open("rb") as file:
            async with self._parts:
                if size > PART:
                    await _within(until - time.monotonic(), self._put_parts(name, file, size, sha256))
                    return
                content = file.read()
                if hashlib.sha256(content).hexdigest() != sha256:
                    raise Altered(path)
                await self._put(name, content, until - time.monotonic(), replace=True)
                self._count(size)

    async def download(self, name: str, path: str, size: int, sha256: str, seconds: float) -> None:
        """Downloads a file and hashes it while it arrives; a large one in parts, several at once.

        Raises Altered for another length or SHA-256, Unavailable, and OSError of the file.
        """
        digest, count = hashlib.sha256(), 0
        with Path(path).open("xb") as file:
            async for content in self._content(name, size, time.monotonic() + seconds):
                count += len(content)
                if count > size:
                    raise Altered(name)
                digest.update(content)
                file.write(content)
                self._count(len(content))
        if digest.hexdigest() != sha256:
            raise Altered(name)

    async def _put(self, name: str, content: bytes, seconds: float, *, replace: bool) -> bool:
        mode: Any = "overwrite" if replace else "create"
        put = obstore.put_async(self._store, name, content, mode=mode, use_multipart=False)
        try:
            await _within(seconds, put)
        except AlreadyExistsError:
            return False
        except Missing as e:  # an answer to a write: there is no such bucket
            raise Unavailable(str(e)) from e
        return True

    async def _put_parts(self, name: str, file: BinaryIO, size: int, sha256: str) -> None:
        part = max(PART, -(-size // MOST_PARTS))
        failed: list[Exception] = []

        async def parts() -> AsyncIterator[bytes]:
            digest = hashlib.sha256()
            try:
                while content := file.read(part):
                    digest.update(content)
                    yield content
                    self._count(len(content))
                if digest.hexdigest() != sha256:
                    raise Altered(file.name)
            except (OSError, Altered) as e:  # ends the upload before it becomes visible
                failed.append(e)
                raise

        try:
            await obstore.put_async(self._store, name, parts(), chunk_size=part, max_concurrency=AT_ONCE)
        except FileNotFoundError as e:
            raise Unavailable(_reason(e)) from e
        except Exception as e:
            raise (failed[0] if failed else e) from e

    async def _content(self, name: str, size: int, until: float) -> AsyncIterator[bytes]:
        """The parts of a file in order; the next ones are fetched while one is used."""
        if size <= PART or not self._ranges:
            async with self._parts:
                answer = await _whole(_within(until - time.monotonic(), obstore.get_async(self._store, name)), name)
                stream = aiter(answer.stream(min_chunk_size=2**20))
                while (content := await _within(until - time.monotonic(), _next(stream))) is not None:
                    yield bytes(content)
            return

        async def get(start: int) -> bytes:
            async with self._parts:
                part = obstore.get_range_async(self._store, name, start=start, end=min(start + PART, size))
                return bytes(await _whole(_within(until - time.monotonic(), part), name))

        starts = iter(range(0, size, PART))
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


async def _whole(answer: Awaitable[T], name: str) -> T:
    """An answer that must be complete. Raises Altered."""
    try:
        return await answer
    except Missing as e:
        raise Altered(name) from e


async def _next(stream: AsyncIterator[Any]) -> Any | None:
    return await anext(stream, None)


async def _within(seconds: float, answer: Awaitable[T]) -> T:
    """An answer within a number of seconds. Raises Missing, and Unavailable."""
    try:
        return await asyncio.wait_for(_awaited(answer), max(seconds, 0.1))
    except TimeoutError:
        raise Unavailable(f"no answer within {seconds:.1f} s") from None
    except FileNotFoundError as e:
        if "NoSuchBucket" in str(e):
            raise Unavailable("there is no such bucket") from e
        raise Missing(_reason(e)) from e
    except AlreadyExistsError:
        raise
    except (PermissionDeniedError, UnauthenticatedError) as e:
        raise Unavailable(_reason(e), denied=True) from e
    except (BaseError, ValueError, NotImplementedError) as e:
        raise Unavailable(_reason(e)) from e


async def _awaited(answer: Awaitable[T]) -> T:
    return await answer


def _connect(address: Address) -> ObjectStore:
    """The store of an address, with the credentials that the environment has. Raises Unavailable."""
    # Our own limits are shorter than the client's, which knows no sizes.
    client: ClientConfig = {"connect_timeout": timedelta(seconds=CONNECT_SECONDS), "timeout": timedelta(hours=6)}
    endpoint = next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), "")
    if address.scheme == "http" or (address.scheme == "s3" and endpoint.startswith("http://")):
        client["allow_http"] = True
    retry: RetryConfig = {"max_retries": 2, "retry_timeout": timedelta(seconds=RETRY_SECONDS)}
    try:
        if address.folder is not None:
            return LocalStore(address.folder, mkdir=True)
        return from_url(address.url, client_options=client, retry_config=retry)
    except Exception as e:  # of Rust, as several classes
        raise Unavailable(_reason(e)) from e


def _reason(error: BaseException) -> str:
    """A client's error on one short line, without the query of a URL, which may be a signature."""
    text = str(error).partition("\n\nDebug source")[0]
    status = re.search(r"status code: (\d{3}[ A-Za-z]*)", text)
    code = re.search(r"<Code>(\w+)</Code>", text)
    if status:
        return " ".join(part for part in (status[1].strip(), code[1] if code else "") if part)
    first = re.sub(r"\?\S+", "", text.partition("\n")[0])
    return first.rpartition(" - ")[2][:200] or type(error).__name__
