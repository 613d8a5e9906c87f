"""Samples one at a time: the interface of sources, and a sample in the types of the model's inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from pipeline.errors import StageError, listed
from pipeline.stage import World
from stages.interface import interface as model_interface
from stages.interface.interface import Interface, range_of

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

LABELS = "labels"


class Row(NamedTuple):
    """One sample: an array for each input by name, without the batch's dimension, and its label, if it has one."""

    inputs: Mapping[str, Array]
    label: Any


class Source(Protocol):
    """Samples that can be counted, and read one at a time."""

    def identity(self, world: World) -> Mapping[str, Any]:
        """Identifies the samples, independent of file names. Raises ConfigError for a file that does not exist."""

    def open(self, interface: Interface, seed: int) -> Rows:
        """Prepares to read. Raises StageError and ConfigError."""


class Rows(Protocol):
    """The samples of an opened source.

    Attributes:
        caution: A warning for the summary; empty where there is none.
    """

    caution: str = ""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Row:
        """Raises StageError for a sample that cannot be read or does not fit the model's inputs."""


def fitting(row: Row, interface: Interface, origin: str) -> Row:
    """A sample in the types of the model's inputs. Raises StageError when it does not fit them."""
    import numpy as np

    arrays = {}
    for name, values in row.inputs.items():
        spec = interface.inputs[name]
        shape = spec.shape[1:]
        fits = len(values.shape) == len(shape) and all(
            want is None or (have in range_of(want, interface.dims).sizes if isinstance(want, str) else have == want)
            for have, want in zip(values.shape, shape, strict=True)
        )
        if not fits:
            raise StageError(
                f"{origin}: a sample of '{name}' is {model_interface.says(values.shape)}",
                allowed=f"{shape}, the shape of the input without its batch",
            )
        fits = np.can_cast(values.dtype, spec.dtype, "same_kind")
        cast = values.astype(spec.dtype, order="C") if fits else values  # ascontiguousarray: a number gets a dimension
        if not fits or (cast.dtype.kind in "iu" and (cast != values).any()):
            raise StageError(
                f"{origin}: '{name}' is {values.dtype}, which {spec.dtype} cannot hold",
                allowed=f"numbers that {spec.dtype} has",
            )
        if cast.dtype.kind == "f" and not np.isfinite(cast).all():
            raise StageError(f"{origin}: '{name}' holds NaN or infinities", allowed="numbers")
        arrays[name] = cast
    return Row(arrays, row.label)


def batches(interface: Interface, count: int, most: int = 64) -> Iterator[tuple[slice, int]]:
    """Which rows to run together, and how many copies of the last one to add.

    Args:
        interface: The first dimension of its inputs is the batch.
        count: How many rows there are.
        most: At most so many at once.

    Raises:
        StageError: When the inputs have no common batch.
    """
    firsts = {str(s.shape[0]) if s.shape else "scalar" for s in interface.inputs.values()}
    if len(firsts) != 1 or firsts == {"scalar"}:
        raise StageError(
            f"samples are rows, and the inputs begin with {listed(sorted(firsts))}",
            allowed="one batch as the first dimension of every input",
        )
    size = next(iter(interface.inputs.values())).shape[0]
    dim = range_of(size, interface.dims) if isinstance(size, str) else None
    step = most if size is None else int(size) if dim is None else max([n for n in dim.sizes if n <= most] or [dim.min])
    for start in range(0, count, step):
        rows = min(step, count - start)
        whole = rows if size is None else step if dim is None else min(n for n in dim.sizes if n >= rows)
        yield slice(start, start + rows), whole - rows
