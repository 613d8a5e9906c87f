"""What earlier builds of TensorRT engines measured on this GPU, kept in a file so that later ones need not."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from stages.tensorrt.host.card import Host

if TYPE_CHECKING:
    import tensorrt as trt


def timing_file(folder: str, host: Host) -> Path:
    """The file of a GPU, its compute capability and driver, version and platform, in a folder that is there then."""
    words = (host.gpu, f"sm{host.compute_capability}", host.driver, host.tensorrt, host.platform)
    path = Path(folder).expanduser() / ("-".join(re.sub(r"[^\w.]+", "_", w) for w in words) + ".timing")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def timing_cache(
    config: trt.IBuilderConfig, folder: str | None, host: Host, say: Callable[[str], object]
) -> Iterator[None]:
    """Lends a build what is known, and adds what it measures itself.

    There is a file for each GPU, driver and version of TensorRT. It is read and written under a lock, never held while
    an engine is built: builds at the same time add to one another's. A file that TensorRT does not take is replaced.

    Args:
        config: The builder's settings.
        folder: Where the files are; None for no cache.
        host: Where the engine is built.
        say: Takes a line for a person.
    """
    if folder is None:
        yield
        return
    path = timing_file(folder, host)
    with _locked(path):
        known = path.read_bytes() if path.is_file() else b""
    cache = config.create_timing_cache(known)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        say(f"{path.name} is not what TensorRT takes here: the timing cache begins anew")
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, ignore_mismatch=False)
    yield
    measured = config.get_timing_cache()
    with _locked(path):
        now = path.read_bytes() if path.is_file() else known
        if now != known and (others := config.create_timing_cache(now)) is not None:
            measured.combine(others, ignore_mismatch=False)
        replaced(path, bytes(measured.serialize()))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    import fcntl  # which Windows does not have: a bundle is built there too, without a timing cache

    with path.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def replaced(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_bytes(content)
    beside.replace(path)
