"""Drydock: `convert` and `sweep` for Python; below, the core, which plans, looks up, runs and publishes stages.

The core knows no stage by name. Each module is imported when it is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.api.conversion import convert as convert
    from pipeline.api.conversion import sweep as sweep
    from pipeline.api.result import Conversion as Conversion
    from pipeline.api.table import Sweep as Sweep
    from pipeline.errors import BackendMissing as BackendMissing
    from pipeline.errors import CheckFailed as CheckFailed
    from pipeline.errors import ConfigError as ConfigError
    from pipeline.errors import DrydockError as DrydockError
    from pipeline.errors import StageError as StageError

_PLACES = {
    "convert": "pipeline.api.conversion",
    "sweep": "pipeline.api.conversion",
    "Conversion": "pipeline.api.result",
    "Sweep": "pipeline.api.table",
    **dict.fromkeys(("BackendMissing", "CheckFailed", "ConfigError", "DrydockError", "StageError"), "pipeline.errors"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'pipeline' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
