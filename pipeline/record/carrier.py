"""What a format must offer to carry a record, and which format carries which kind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Protocol

from pipeline.artifact import Kind
from pipeline.record.coreml import Package
from pipeline.record.onnx import Onnx
from pipeline.record.openvino import Ir
from pipeline.record.tensorrt import Card


class Carrier(Protocol):
    """One format. Records are put in and taken out without the format's own library: a warm run imports none."""

    FILE: str  # which of a stored artifact's files carries it, by its path there
    SUFFIX: str  # how the name of the model ends, wherever it went: that file's, or that of the folder that it is in

    @staticmethod
    def put(path: Path, text: str) -> None:
        """Adds a record to a file that has none, and changes nothing else in it. Raises OSError, ValueError."""

    @staticmethod
    def get(path: Path) -> str | None:
        """The record in a file; None when it has none. Raises OSError, and ValueError for a file of no such format."""

    @staticmethod
    def bare(path: Path) -> str:
        """The SHA-256 of the file as it was before the record was put in. Raises OSError, ValueError."""


CARRIERS: Mapping[Kind, type[Carrier]] = {
    Kind.ONNX: Onnx,
    Kind.OPENVINO: Ir,
    Kind.OPENVINO_BLOB: Ir,  # the blob has no place for it, the IR beside it has
    Kind.TENSORRT: Card,  # nor has an engine
    Kind.COREML: Package,
}


def holder(form: type[Carrier], model: Path) -> Path:
    """The file that carries a model's record: the model, or the file in it where the model is a folder."""
    return model.joinpath(*PurePosixPath(form.FILE).parts[1:])


def of_file(path: Path) -> type[Carrier] | None:
    """Which format a model is of, by its suffix."""
    return next((c for c in CARRIERS.values() if path.suffix == c.SUFFIX), None)
