"""An S3 server on loopback that can be made to fail, and machines that share a bucket on it.

The server keeps a bucket as a folder. What S3 does and it does not is added here: a body that is not as long, or has
not the SHA-256, that its headers say is refused. Its conditional create is a hard link, which is atomic.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from localbucket import TEMP_PREFIX, S3Error, S3Handler

from pipeline.remote import signing
from pipeline.remote.address import Address
from pipeline.remote.bucket import Bucket, _Worker
from pipeline.remote.remote import Remote
from pipeline.remote.signing import Signer
from pipeline.store import Store, Trust
from tests.pipeline.conftest import Dock

BUCKET, PREFIX = "results", "team/one"
Fault = Callable[[S3Handler, str, str], Any]


class Server:
    """An S3 server with one bucket.

    Args:
        root: The folder of its buckets.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / BUCKET).mkdir(parents=True)
        self.requests: list[tuple[str, str]] = []
        self.fault: Fault | None = None
        self.start()

    def start(self) -> None:
        handler = type("Handler", (_Handler,), {"data_root": self.root, "server_of": self})
        self._http = _Http(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, daemon=True, kwargs={"poll_interval": 0.01}).start()
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def stop(self) -> None:
        """Stops answering: connections that are open are dropped, and new ones refused."""
        self.fault = lambda handler, method, name: drop(handler)
        self._http.shutdown()
        self._http.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """The environment of an S3 client: the server's address and the credentials."""
        return {"AWS_ENDPOINT_URL": self.url, "AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "secret"}

    def files(self, below: str = "") -> list[Path]:
        """The visible objects in the bucket."""
        folder = self.root / BUCKET / PREFIX / "v1" / below
        return sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(TEMP_PREFIX))

    def largest(self) -> Path:
        """The largest file in the bucket."""
        return max(self.files("files"), key=lambda path: path.stat().st_size)

    def count(self, method: str, part: str) -> int:
        """How many requests there were of a method for a name with this in it."""
        return sum(m == method and part in name for m, name in self.requests)


class _Http(ThreadingHTTPServer):
    def handle_error(self, *args: Any) -> None:
        pass  # a client that was killed


class _Handler(S3Handler):
    server_of: Server

    def log_message(self, *args: Any) -> None:
        pass

    def _dispatch(self, action: Any) -> None:
        server = self.server_of
        server.requests.append((self.command, self.path))
        try:
            if server.fault is not None:
                server.fault(self, self.command, self.path)
        except Dropped:
            self.close_connection = True
            return
        except S3Error as e:
            self._send_error(e)
            return
        with contextlib.suppress(ConnectionError):
            super()._dispatch(action)
        self.after()

    def after(self) -> None:
        """A fault that acts after a request is answered."""

    def _read_body(self) -> bytes:
        length = int(self.headers.get("Content-Length") or 0)
        body = super()._read_body()
        said = self.headers.get("x-amz-content-sha256", "")
        if len(body) != length or (len(said) == 64 and hashlib.sha256(body).hexdigest() != said):
            raise S3Error(HTTPStatus.BAD_REQUEST, "IncompleteBody", "not what the headers say")
        return body


class Dropped(Exception):
    """The connection goes without an answer."""


def drop(handler: S3Handler) -> None:
    raise Dropped


def answer(status: int, code: str) -> None:
    """Ends a request with an error of S3's."""
    raise S3Error(HTTPStatus(status), code, "as the test wants it")


def on(method: str, part: str, act: Callable[[S3Handler], Any]) -> Fault:
    """A fault of the requests of a method for names with this in them."""

    def fault(handler: S3Handler, request: str, name: str) -> None:
        if method in ("", request) and part in name:
            act(handler)

    return fault


def slow(seconds: float) -> Callable[[S3Handler], None]:
    return lambda handler: time.sleep(seconds)


class Machine(Dock):
    """A machine of its own: a local store, a key pair, and the bucket."""

    def __init__(
        self,
        home: Path,
        signer: Signer | None,
        *,
        trust: tuple[str, ...] = (),
        write: bool = True,
        address: str = f"s3://{BUCKET}/{PREFIX}",
    ) -> None:
        home.mkdir(exist_ok=True)
        super().__init__(home)
        self.signer, self.write = signer, write
        self.trust = Trust.of(trust)
        self.bucket = bucket_of(address)

    @property
    def store(self) -> Store:
        root = self.home / "store"
        remote = Remote(self.bucket, root, self.trust.keys, self.signer, write=self.write)
        return Store(root, trust=self.trust, elsewhere=remote)

    def again(self) -> Machine:
        """The same machine, in a new process."""
        self.bucket = bucket_of(self.bucket.address.url)
        return self


# By address and server, the bucket of a test whose process asks for all of them.
_firsts: dict[tuple[str, str | None], Bucket] = {}


def bucket_of(text: str) -> Bucket:
    """A bucket as in a new process, with nothing cached."""
    address = Address.parse(text)
    place = address.url, os.environ.get("AWS_ENDPOINT_URL")
    if (first := _firsts.get(place)) is None:
        first = _firsts[place] = Bucket(address)
        first._worker = first.loop.run(_Worker.started(address, first._count))
    new = Bucket(address)
    new.loop, new._worker = first.loop, first._worker
    return new


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server(tmp_path / "buckets")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr("os.fsync", lambda fd: None)
    yield server
    _firsts.clear()
    with contextlib.suppress(OSError):
        server.stop()


@pytest.fixture
def signer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Signer:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return signing.create()


@pytest.fixture
def other_signer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Signer:
    with monkeypatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path / "other"))
        return signing.create()
