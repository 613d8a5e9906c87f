"""`python -m pipeline.remote.worker FD URL`: the process that talks to a bucket, for the one that started it.

In a process of its own, since a client in Rust has threads that outlive neither a fork nor the end of an interpreter.
It ends with the other end of its socket, however that one dies: an upload that is not complete then cannot be seen.

A question is a line of JSON, {id, do, with}, or {cancel: id}; an answer is {id, ok} or {id, failed}, or {moved: bytes}.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import socket
import sys
from typing import Any

from pipeline.remote.address import Address
from pipeline.remote.answers import Unavailable, sent

# Of one line: the largest text that is read or written, and more.
LONGEST = 2**26


async def serve(fd: int, url: str) -> None:
    """Answers until the other end is gone."""
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=fd), limit=LONGEST)

    def say(**line: Any) -> None:
        writer.write(json.dumps(line).encode() + b"\n")

    client = _client(url, say)
    under_way: dict[int, asyncio.Task[None]] = {}
    while line := await reader.readline():
        question = json.loads(line)
        if (number := question.get("cancel")) is not None:
            if number in under_way:
                under_way[number].cancel()
            continue
        task = under_way[question["id"]] = asyncio.create_task(_answer(client, question, say))
        task.add_done_callback(functools.partial(_end, under_way, question["id"]))


def _end(under_way: dict[int, asyncio.Task[None]], number: int, task: asyncio.Task[None]) -> None:
    del under_way[number]


def _client(url: str, say: Any) -> Any:
    """The client; where there can be none, why."""
    try:
        from pipeline.remote.client import Client

        def count(moved: int) -> None:
            say(moved=moved)

        return Client(Address(url), count)
    except Unavailable as e:
        return e


async def _answer(client: Any, question: dict[str, Any], say: Any) -> None:
    try:
        if isinstance(client, Unavailable):
            raise client
        say(id=question["id"], ok=await getattr(client, question["do"])(**question["with"]))
    except Exception as e:  # whatever it is, the other end has the words for it
        say(id=question["id"], failed=sent(e))


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2]))
    os._exit(0)
