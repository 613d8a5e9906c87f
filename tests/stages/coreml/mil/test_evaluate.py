"""coreml/mil computes the values that coremltools' own tests state for Core ML; exceptions are in coreml_values."""

from __future__ import annotations

import fnmatch
import json
from pathlib import Path

import coreml_values
import pytest
from harness import backend
from mil_packages import quiet

backend("coremltools")
MIL = "converters/mil/mil/ops/tests"
# What to run, how many of the parameters of each test function, and how many tests state values, at least.
WHOLE = {
    "iOS14": (f"{MIL}/iOS14", 1, 140),
    "iOS15": (f"{MIL}/iOS15", 2, 8),
    "iOS16": (f"{MIL}/iOS16", 2, 30),
    "iOS17": (f"{MIL}/iOS17", 2, 85),
    "iOS18": (f"{MIL}/iOS18", 2, 35),
}


def stated(path: str, of_each: int, report: Path, *more: str) -> list[dict]:
    """The outcomes of coremltools' tests that state values, run in this process."""
    home = Path(quiet().__file__).resolve().parent
    arguments = [str(home / path), "-p", "coreml_values", f"--of-each={of_each}", f"--found={report}", *more]
    # As if nobody had called pytest: none of our settings, no workers, nothing written beside the wheel.
    plain = ["-c", "/dev/null", f"--rootdir={home.parent}", "--import-mode=importlib", "-W", "ignore", "-q"]
    pytest.main([*arguments, *plain, "-p", "no:cacheprovider", "-p", "no:xdist"])
    return [json.loads(line) for line in report.read_text().splitlines()]


def wrong(rows: list[dict]) -> list[str]:
    return [f"{row['test']}: {row['why']}" for row in rows if row["outcome"] == "failed"]


def test_a_few_of_coremltools_own_values_are_answered(tmp_path):
    rows = stated(
        f"{MIL}/iOS17/test_image_resizing.py", 1, tmp_path / "found", "-k", "nearest_neighbor or TestCropResize"
    )
    assert wrong(rows) == []
    assert len(rows) == 3


@pytest.mark.slow
@pytest.mark.parametrize("what", WHOLE)
def test_all_of_coremltools_own_values_are_answered(what, tmp_path):
    path, of_each, least = WHOLE[what]
    rows = stated(path, of_each, tmp_path / "found")
    assert wrong(rows) == []
    assert sum(row["outcome"] == "passed" for row in rows) >= least
    patterns = [pattern for _, pattern, _ in coreml_values.EXCEPTIONS]
    # coremltools has marks of its own, for what Core ML gets wrong; there, the evaluator may well be right.
    other = [row["test"] for row in rows if row["outcome"] == "excepted" and row["why"]]
    assert [test for test in other if not any(fnmatch.fnmatchcase(test, p) for p in patterns)] == []
