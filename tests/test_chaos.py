"""A slice of `make chaos`: each kind of fault, in processes of its own, against the real runner and store."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CAMPAIGN = """
from benchmarks.chaos import campaign, scenes
with scenes.kept:
    campaign.prepare()
    verdicts = []
    campaign.run({names}, verdicts.append, processes=1)
print(len(verdicts), sum(v.struck for v in verdicts))
"""
SLICE = 'campaign.names({"struck": 0.004, "rot": 0.04, "racing": 0.01, "users": 0.01}, seed=0)'
# What delivers file after file, in the place of what delivers a folder by a rename.
IN_PLACE = """
import shutil
from pipeline.running import beside
beside.swap = lambda new, output: shutil.copytree(new, output, dirs_exist_ok=True)
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what is left of a process is found on Linux alone")


def campaign(names, before=""):
    """The errors that trials found, the number of trials, and the number of faults that struck."""
    command = [sys.executable, "-c", before + CAMPAIGN.format(names=names)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *wrong, last = done.stdout.strip().splitlines()
    return [w for w in wrong if w], *map(int, last.split())


def test_a_slice_of_the_campaign_finds_nothing_wrong():
    wrong, tried, struck = campaign(SLICE)
    assert wrong == []
    assert tried >= 50
    assert struck > 0.9 * tried


def test_the_campaign_finds_a_delivery_that_is_written_in_place():
    wrong, *_ = campaign([f"struck/over/kill-after/{at}" for at in range(1000, 1120, 8)], before=IN_PLACE)
    assert [w for w in wrong if "neither absent nor whole" in w]


def test_every_promise_rests_on_tests_that_are_there():
    from benchmarks.chaos import promises

    paths = [path for _, rests in promises.PROMISES for path in re.findall(r"`(tests/[^`]*)`", rests)]
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []
