"""Lets every test import what lies beside this, such as `harness`, and what tests start hear Ctrl-C."""

import gc
import os
import signal
import sys
from pathlib import Path

import pytest

# Last, so that tests/pipeline and tests/stages never stand in for the packages of those names.
sys.path.append(str(Path(__file__).parent))

# With a worker for each core, threads that outnumber the cores only wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# What a shell starts in the background ignores Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def _only_new_garbage() -> None:
    """Each run collects garbage, which takes a third of a second where earlier tests have left torch in memory."""
    gc.collect()
    gc.freeze()
