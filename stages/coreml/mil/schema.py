"""Core ML's protobuf schema, loaded without coremltools, whose import takes ten seconds."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

from pipeline.errors import BackendMissing

PACKAGE = "drydock_coreml_proto"


def model() -> Any:
    """The message type of a saved model.

    coremltools' generated modules import each other relatively, so they can be loaded as a package of another name.
    Descriptors are registered in protobuf's pool by their content: coremltools itself, imported before or after, gets
    the same classes.

    Raises:
        BackendMissing: Where coremltools is not installed.
    """
    if PACKAGE not in sys.modules:
        spec = importlib.util.find_spec("coremltools")
        if spec is None or not spec.submodule_search_locations:
            raise BackendMissing("coremltools is not installed", command="pip install 'torch-drydock[coreml]'")
        package = types.ModuleType(PACKAGE)
        package.__path__ = [str(Path(spec.submodule_search_locations[0]) / "proto")]
        sys.modules[PACKAGE] = package
    return importlib.import_module(f"{PACKAGE}.Model_pb2").Model


def dtype(message: Any) -> str:
    """The name of a message's `dataType`, such as float16 or int32. The message is a MIL tensor, or a port's array."""
    name: str = message.DESCRIPTOR.fields_by_name["dataType"].enum_type.values_by_number[message.dataType].name
    return name.lower()
