"""Keeps the time measurements of TensorRT builds on this GPU in a file, so that later builds need not repeat them."""

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
    """The file for a GPU, its compute capability and driver, version and platform; the folder is created."""
    words = (host.gpu, f"sm{host.compute_capability}", host.driver, host.tensorrt, host.platform)
    path = Path(folder).expanduser() / ("-".join(re.sub(r"[^\w.]+", "_", w) for w in words) + ".timing")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def timing_cache(
    config: trt.IBuilderConfig, folder: str | None, host: Host, say: Callable[[str], object]
) -> Iterator[None]:
    """Gives a build the earlier measurements, and adds its own.

    There is one file for each GPU, driver and version of TensorRT. It is read and written under a lock, which is not
    held during the build: simultaneous builds merge their measurements. A file that TensorRT refuses is replaced.

    Args:
        config: The builder's settings.
        folder: The folder of the files; None for no cache.
        host: The host that builds the engine.
        say: Takes a line for a person.
    """
    if folder is None:
        yield
        return
    path = timing_file(folder, host)
    with _locked(path):
        earlier = path.read_bytes() if path.is_file() else b""
    cache = config.create_timing_cache(earlier)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        say(f"TensorRT refuses {path.name} here: the timing cache starts empty")
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, ignore_mismatch=False)
    yield
    measured = config.get_timing_cache()
    with _locked(path):
        now = path.read_bytes() if path.is_file() else earlier
        if now != earlier and (others := config.create_timing_cache(now)) is not None:
            measured.combine(others, ignore_mismatch=False)
        replaced(path, bytes(measured.serialize()))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    import fcntl  # missing on Windows, where a bundle is built without a timing cache

    with path.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def replaced(path: Path, content: bytes) -> None:
    """Writes a file completely or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_bytes(content)
    beside.replace(path)
