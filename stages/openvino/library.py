"""OpenVINO without its telemetry, with the extensions that a configuration names."""

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
from stages.portable.said import first_line


def quiet() -> Any:
    """The module openvino, imported such that it sends nothing to anybody.

    Its converter reports what it converts through openvino_telemetry, and does without where that is not to be had.
    """
    formats.block()
    import openvino

    return openvino


def converted(program: Any, extensions: Sequence[Any], **how: Any) -> Any:
    """openvino.convert_model, kept from the person's screen and from the root logger. Raises whatever it raises.

    It sets the root logger's level, which would silence us from then on, and writes there what it raises too.

    Args:
        program: What it takes.
        extensions: As `loaded` returns them.
        how: What else it takes.
    """
    # A Python operation needs no telling: the rule that brings it in has it at hand.
    known = [e for e in extensions if not isinstance(e, type)]
    root = logging.getLogger()
    level, handlers = root.level, root.handlers
    with native_output.to_log(errors=True):
        root.handlers = [logging.NullHandler()]
        try:
            return quiet().convert_model(program, extension=known or None, **how)
        finally:
            root.handlers = handlers
            root.setLevel(level)


def read(path: Path, says: str, extensions: Sequence[str] = ()) -> Any:
    """The openvino.Model of a file that one of OpenVINO's own readers knows. Raises StageError.

    Args:
        path: The file, or a SavedModel's folder.
        says: What people call such a file.
        extensions: See `loaded`.
    """
    known = loaded(extensions)
    try:
        return converted(path, known)
    except Exception as e:  # the readers raise anything on a damaged file
        if unconverted.tells(e):
            raise unconverted.report(path, e) from e
        raise StageError(
            f"OpenVINO cannot read this {says}: {first_line(e)}",
            allowed="a whole file, of operators that OpenVINO has",
            command="compare its size and SHA-256 with the original's",
        ) from e


def extended(extensions: Sequence[str]) -> Any:
    """An openvino.Core that knows the operations of extensions. Raises as `loaded` does."""
    core = quiet().Core()
    for extension in loaded(extensions):
        try:
            core.add_extension(extension)
        except Exception as e:  # a library may be anything
            raise StageError(f"OpenVINO cannot load the extension {extension}: {first_line(e)}") from e
    return core


def loaded(extensions: Sequence[str]) -> list[Any]:
    """What add_extension and convert_model take: the path of a library, or the Python object behind a dotted path.

    Raises:
        ConfigError: When a dotted path cannot be imported.
    """
    found: list[Any] = []
    for named in extensions:
        if is_library(named):
            found.append(str(Path(named).expanduser().absolute()))
            continue
        module, _, name = named.rpartition(".")
        try:
            extension = getattr(importlib.import_module(module), name)
        except Exception as e:  # a module may raise anything while it is imported
            raise ConfigError(f"extensions names {named}, which cannot be imported: {first_line(e)}") from e
        openvino = quiet()
        if not isinstance(extension, openvino.Extension) and not _is_operation(extension):
            raise ConfigError(
                f"extensions names {named}, which is {type(extension).__name__}",
                allowed="a ConversionExtension of openvino.frontend, or a class under openvino.Op",
            )
        found.append(extension)
    return found


def _is_operation(extension: Any) -> bool:
    return isinstance(extension, type) and issubclass(extension, quiet().Op)
