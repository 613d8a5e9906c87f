"""Imports one library, and reads the facts about it that change results.

`python -m pipeline.machine.probe MODULE` prints a line of JSON.

It runs as a process of its own, because an import may crash, hang or fill the memory. The core knows no library: a
format says what to ask of one, in the part that its `format.py` calls `probe`: `FACTS` has, by the name of a library, a
function of the imported module that returns facts by name, or raises. The line is `{"facts": {…}}`, or `{"error":
"ImportError: …", "lacks": …}`, with the module whose absence is the error, if that is what it is.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from pipeline import formats


def main(module: str) -> dict[str, Any]:
    """Imports a module and asks it for its facts."""
    formats.block()
    questions: dict[str, Callable[[Any], Mapping[str, Any]]] = {}
    for part in formats.parts("probe"):
        questions |= part.FACTS
    try:
        imported = importlib.import_module(module)
        return {"facts": questions[module](imported) if module in questions else {}}
    except (Exception, SystemExit) as e:
        last = [line.strip() for line in str(e).splitlines() if line.strip()][-1:]
        lacks = e.name if isinstance(e, ModuleNotFoundError) else None
        return {"error": ": ".join([type(e).__name__, *last]), "lacks": lacks}


if __name__ == "__main__":
    # What libraries print while they are imported is no answer.
    answer = os.dup(1)
    os.dup2(2, 1)
    os.write(answer, json.dumps(main(sys.argv[1]), default=str).encode())
    # Ends as a run does: without the exit handlers of libraries.
    os._exit(0)
