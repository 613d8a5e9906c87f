"""The sources of a model's weights: a file, torchvision's published ones, or a seeded draw."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import queue
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError, Problem, StageError, listed
from pipeline.stage import World

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

SOURCES = ("auto", "pretrained", "random")
TORCHVISION_FILES = Path(__file__).with_name("torchvision_weights.json")
TORCHVISION_URL = "https://download.pytorch.org/models/"
# How long to wait for a host when random weights would do.
CONNECT_SECONDS = 6.0
# For how long a run with weights=auto relies on the last run's failure before it tries the host again.
OFFLINE_SECONDS = 3600.0


def pretrained_file(table: str | None, name: str) -> str | None:
    """The name of the file with a model's published weights, as torchvision's weights tables give it.

    Args:
        table: Whose table to look in; "torchvision" is the only one.
        name: The model's name in it.
    """
    if table != "torchvision":
        return None
    table_of_files: dict[str, str] = json.loads(TORCHVISION_FILES.read_text())
    return table_of_files.get(name)


def cached(file: str) -> Path:
    """Where torch.hub stores a downloaded file; we use the same place, so that downloads are shared both ways."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = os.environ.get("TORCH_HOME") or str(cache / "torch")
    return Path(home).expanduser() / "hub" / "checkpoints" / Path(file).name


def fetch(file: str, world: World, *, again: bool) -> str:
    """Downloads a file into torch.hub's folder. Returns the empty string, or why that failed.

    Args:
        file: Its name, which ends in the first eight digits of its SHA-256.
        world: Remembers for a while that the host cannot be reached, so that warm runs do not wait for it.
        again: Whether to try even if it was unreachable a moment ago.
    """
    import urllib.error  # here: a warm run downloads nothing, and http takes a while to import

    fact = f"cannot download {file}"
    if not again and (why := world.recall(fact, OFFLINE_SECONDS)) is not None:
        return why
    try:
        _download(TORCHVISION_URL + file, cached(file))
    except (OSError, ValueError) as e:
        why = str(e.reason if isinstance(e, urllib.error.URLError) else e)
        world.remember(fact, why)
        log.info("not available: %s", why)
        return why
    return ""


def _download(url: str, target: Path) -> None:
    """Raises OSError, urllib's errors included; ValueError when the content does not match the digits in its name."""
    log.info("downloading %s", url)
    response = _opened(url)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}")
    digest = hashlib.sha256()
    try:
        with response, beside.open("wb") as f:
            while chunk := response.read(1 << 20):
                digest.update(chunk)
                f.write(chunk)
        refuse_unless_named(target, digest.hexdigest())
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def _opened(url: str) -> Any:
    import urllib.request

    return answer_of(lambda: urllib.request.urlopen(url, timeout=CONNECT_SECONDS))


def answer_of(ask: Callable[[], Any]) -> Any:
    """A host's answer within CONNECT_SECONDS, including the name look-up, which a socket's time-out does not cover.

    Raises what `ask` raises, and TimeoutError.
    """
    answer: queue.Queue[Any] = queue.Queue()

    def connect() -> None:
        try:
            answer.put(ask())
        except Exception as e:  # handed to the thread that waits, which raises it
            answer.put(e)

    threading.Thread(target=connect, daemon=True).start()
    try:
        got = answer.get(timeout=CONNECT_SECONDS)
    except queue.Empty:
        raise TimeoutError(f"no answer within {CONNECT_SECONDS:.0f} s") from None
    if isinstance(got, Exception):
        raise got
    return got


def refuse_unless_named(file: Path, sha256: str) -> None:
    """Compares a published file's SHA-256 with the digits at the end of its name. Raises ValueError."""
    digits = promised(file.name)
    if not sha256.startswith(digits):
        raise ValueError(f"{file.name} should have a SHA-256 that begins with {digits}; it begins with {sha256[:8]}")


def promised(file: str) -> str:
    """The digits of its SHA-256 at the end of a published file's name."""
    return re.split("[-_]", Path(file).stem)[-1]


def file_digest(path: Path, world: World) -> str:
    """The SHA-256 of a user's weights file. Raises ConfigError when it cannot be read."""
    try:
        return world.digest(path)
    except OSError as e:
        beside = listed(sorted(f.name for f in path.parent.glob(f"*{path.suffix}"))) if path.parent.is_dir() else ""
        raise ConfigError(
            f"weights={path} cannot be read: {e.strerror}",
            allowed=f"a .pth, .pt or .safetensors file, a folder or index of shards, or one of {listed(SOURCES)}"
            + (f"; {path.parent} holds {beside}" if beside else ""),
            command="model.weights=/path/to/weights.pth",
        ) from e


def content(path: Path) -> str:
    """The SHA-256 of a file's present content."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def unpinnable(weights: str, sha256: str | None, instead: str) -> Iterator[Problem]:
    """A problem if random weights are pinned; `instead` is what can be pinned."""
    if weights == "random" and sha256 is not None:
        yield Problem("sha256 is pinned, but weights is random", command=f"model.sha256=null, or weights={instead}")


def expect(path: Path, sha256: str, actual: str | None = None, setting: str = "weights") -> None:
    """Compares a file with the digest in its key. Raises StageError, and OSError when the file is gone.

    Args:
        path: The file.
        sha256: Its digest when the plan was made.
        actual: Its digest now; None to hash the file.
        setting: The setting that has the path, for the message.
    """
    actual = actual or content(path)
    if actual != sha256:
        raise StageError(
            f"{setting}={path.name} changed since the plan was made: its SHA-256 was {sha256} and is {actual}",
            command="run the same command again once the file is complete",
        )


def size(module: torch.nn.Module) -> int:
    """Bytes of a module's weights and buffers; tied weights count once."""
    distinct = {(t.data_ptr(), t.numel()): t for t in module.state_dict().values()}
    return sum(t.numel() * t.element_size() for t in distinct.values())
