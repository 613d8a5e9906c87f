"""Converts errors of the TensorRT files that bundles share into our own errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pipeline.errors import BackendMissing, CheckFailed, DrydockError, StageError
from stages.tensorrt.host.card import Failure

OURS: Mapping[int, type[DrydockError]] = {e.exit_code: e for e in (StageError, BackendMissing, CheckFailed)}


@contextmanager
def failures() -> Iterator[None]:
    """Converts a Failure inside the block into our own error."""
    try:
        yield
    except Failure as e:
        raise OURS[e.exit_code](e.what, allowed=e.allowed, command=e.command) from e
