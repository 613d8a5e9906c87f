"""What the parts of TensorRT that a bundle's script shares raise, as our own errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pipeline.errors import BackendMissing, CheckFailed, DrydockError, StageError
from stages.tensorrt.host.card import Failure

OURS: Mapping[int, type[DrydockError]] = {e.exit_code: e for e in (StageError, BackendMissing, CheckFailed)}


@contextmanager
def failures() -> Iterator[None]:
    """Makes our own error of a Failure within."""
    try:
        yield
    except Failure as e:
        raise OURS[e.exit_code](e.what, allowed=e.allowed, command=e.command) from e
