"""Samples one at a time: what a source of them offers, and a sample in the types of the model's inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from pipeline.errors import StageError
from pipeline.stage import World
from stages.interface import interface as model_interface
from stages.interface.interface import Interface

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
        """What the samples are, whatever the files are called. Raises ConfigError for what is not there."""

    def open(self, interface: Interface, seed: int) -> Rows:
        """Gets ready to read. Raises StageError and ConfigError."""


class Rows(Protocol):
    """The samples of an opened source.

    Attributes:
        caution: What whoever relies on them should know; empty where there is nothing.
    """

    caution: str = ""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Row:
        """Raises StageError for a sample that cannot be read or does not fit the model's inputs."""


def fitting(row: Row, interface: Interface, origin: str) -> Row:
    """A sample in the types of the model's inputs. Raises StageError when it does not fit them."""
    import numpy as np

    given = {}
    for name, values in row.inputs.items():
        spec = interface.inputs[name]
        wanted = spec.shape[1:]
        fits = len(values.shape) == len(wanted) and all(
            want is None or (have in interface.dims[want].sizes if isinstance(want, str) else have == want)
            for have, want in zip(values.shape, wanted, strict=True)
        )
        if not fits:
            raise StageError(
                f"{origin}: a sample of '{name}' is {model_interface.says(values.shape)}",
                allowed=f"{wanted}, the shape of the input without its batch",
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
        given[name] = cast
    return Row(given, row.label)
