"""A shortcut through Hydra 1.3, which composes the whole configuration twice: once only to read hydra.mode.

That is a quarter of a warm run. Nothing but an experiment, a sweep or an override of hydra's own settings can ask for
another mode than the command line does, so unless one of them was typed the first composition is left out: Hydra takes
None for "as the command line says". `get_mode` is private; the pin on hydra-core keeps it, a test notices when it goes.
"""

from __future__ import annotations

import re
from typing import Any

from hydra._internal.hydra import Hydra

MAY_SET_MODE = re.compile(r"[+~]*(hydra|experiment|sweep)\b")


def compose_once() -> None:
    """Installs the shortcut for this process."""
    thorough = Hydra.get_mode

    def get_mode(self: Hydra, config_name: str | None, overrides: list[str]) -> Any:
        if config_name != "config" or any(MAY_SET_MODE.match(o) for o in overrides):
            return thorough(self, config_name, overrides)
        return None

    Hydra.get_mode = get_mode  # type: ignore[method-assign]
