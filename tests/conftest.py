"""Lets every test import `harness`."""

import sys
from pathlib import Path

# Last, so that tests/pipeline and tests/stages never stand in for the packages of those names.
sys.path.append(str(Path(__file__).parent))
