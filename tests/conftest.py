"""Lets every test import the modules of this folder, such as `harness`, and lets started processes receive Ctrl-C."""

import gc
import os
import signal
import sys
from pathlib import Path

import pytest

# Last, so that tests/pipeline and tests/stages never hide the packages of these names.
sys.path.append(str(Path(__file__).parent))

# With a worker for each core, more threads than cores only wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell's background jobs ignore Ctrl-C, and so would all processes that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def _only_new_garbage() -> None:
    """Freezes earlier objects: each run collects garbage, which takes a third of a second with torch in memory."""
    gc.collect()
    gc.freeze()
