"""Imports OpenVINO without its telemetry, and loads the extensions that a configuration names."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import formats
from pipeline.errors import ConfigError, StageError
from stages.formats.extensions import is_library
from stages.openvino import unconverted
from stages.portable import native_output
from stages.portable.vendor_errors import first_line


def load() -> Any:
    """The module openvino, imported such that it sends no usage data.

    Its converter reports conversions through openvino_telemetry, and works without it where the import fails.
    """
    formats.block()
    import openvino

    return openvino


def convert(program: Any, extensions: Sequence[Any], **how: Any) -> Any:
    """openvino.convert_model without its output on the screen and its changes to the root logger.

    It sets the root logger's level, which would silence our own log, and logs every error that it raises.

    Args:
        program: The program, as convert_model takes it.
        extensions: From `load_extensions`.
        how: convert_model's other arguments.

    Raises whatever convert_model raises.
    """
    # A Python operation is no argument of convert_model: the conversion rule that uses it imports it.
    additions = [e for e in extensions if not isinstance(e, type)]
    root = logging.getLogger()
    level, handlers = root.level, root.handlers
    with native_output.to_log(errors=True):
        root.handlers = [logging.NullHandler()]
        try:
            return load().convert_model(program, extension=additions or None, **how)
        finally:
            root.handlers = handlers
            root.setLevel(level)


def read(path: Path, says: str, extensions: Sequence[str] = ()) -> Any:
    """The openvino.Model of a file that one of OpenVINO's own readers opens. Raises StageError.

    Args:
        path: The file, or a SavedModel's folder.
        says: The name of this kind of file, for messages.
        extensions: See `load_extensions`.
    """
    additions = load_extensions(extensions)
    try:
        return convert(path, additions)
    except Exception as e:  # the readers raise anything on a damaged file
        if unconverted.tells(e):
            raise unconverted.report(path, e) from e
        raise StageError(
            f"OpenVINO cannot read this {says}: {first_line(e)}",
            allowed="a whole file, of operators that OpenVINO has",
            command="compare its size and SHA-256 with the original's",
        ) from e


def core_with(extensions: Sequence[str]) -> Any:
    """An openvino.Core with the operations of extensions. Raises StageError, and what `load_extensions` raises."""
    core = load().Core()
    for extension in load_extensions(extensions):
        try:
            core.add_extension(extension)
        except Exception as e:  # a library may be anything
            raise StageError(f"OpenVINO cannot load the extension {extension}: {first_line(e)}") from e
    return core


def load_extensions(extensions: Sequence[str]) -> list[Any]:
    """Extensions as add_extension and convert_model take them: paths of libraries, and Python objects.

    Raises:
        ConfigError: When a dotted path cannot be imported.
    """
    objects: list[Any] = []
    for entry in extensions:
        if is_library(entry):
            objects.append(str(Path(entry).expanduser().absolute()))
            continue
        module, _, name = entry.rpartition(".")
        try:
            extension = getattr(importlib.import_module(module), name)
        except Exception as e:  # a module may raise anything while it is imported
            raise ConfigError(f"extensions names {entry}, which cannot be imported: {first_line(e)}") from e
        openvino = load()
        if not isinstance(extension, openvino.Extension) and not _is_operation(extension):
            raise ConfigError(
                f"extensions names {entry}, which is {type(extension).__name__}",
                allowed="a ConversionExtension of openvino.frontend, or a class under openvino.Op",
            )
        objects.append(extension)
    return objects


def _is_operation(extension: Any) -> bool:
    return isinstance(extension, type) and issubclass(extension, load().Op)
