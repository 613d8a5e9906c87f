"""Arms the fault that the environment names, before anything of a command line runs; on PYTHONPATH by its folder."""

import os
from pathlib import Path

if "CHAOS_ROOT" in os.environ:
    from benchmarks.chaos.faults import Fault, Injector

    counter = os.environ.get("CHAOS_COUNT")
    fault = Fault(os.environ.get("CHAOS_HOW", ""), int(os.environ.get("CHAOS_AT", "0")))
    Injector(Path(os.environ["CHAOS_ROOT"]), fault, Path(counter) if counter else None).arm()
