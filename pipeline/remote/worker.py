"""`python -m pipeline.remote.worker FD URL`: the process that talks to a bucket for its parent.

It is a process of its own, since the threads of a client in Rust survive neither a fork nor the end of an interpreter.
It ends when the other end of its socket closes, however its parent dies: an incomplete upload stays invisible.

A request is a line of JSON, {id, do, with}, or {cancel: id}; an answer is {id, ok} or {id, failed}, or {moved: bytes}.
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

# The limit of one line: more than the largest text that is read or written.
LONGEST = 2**26


async def serve(fd: int, url: str) -> None:
    """Answers requests until the other end is closed."""
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
    """The client, or the reason why there is none."""
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
    except Exception as e:  # any error: the other end reports it
        say(id=question["id"], failed=sent(e))


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2]))
    os._exit(0)
