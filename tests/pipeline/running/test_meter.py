"""Time and memory of a stage, and the memory that it gives back."""

import resource
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline.running import memory
from pipeline.running import meter as meter_module
from pipeline.running.meter import Meter

BLOCK = 64 * 2**20


def meters():
    return [t for t in threading.enumerate() if t.name == "memory meter"]


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def wait_until(true, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.001)


def test_time_is_that_of_the_block(monkeypatch):
    clock = iter([1.0, 3.5])
    monkeypatch.setattr("pipeline.running.meter.time.perf_counter", lambda: next(clock))
    with Meter() as meter:
        pass
    assert meter.seconds == 2.5


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is resident now")
def test_memory_that_is_freed_within_the_block_counts():
    # The process's own high-water mark is raised first, so that only a sample can tell.
    bytearray(b"x") * (3 * BLOCK)
    with Meter() as meter:
        wait_until(lambda: meter.peak_bytes)
        before = resident()
        block = bytearray(b"x") * BLOCK
        wait_until(lambda: meter.peak_bytes >= before + BLOCK * 0.9)
        del block
        time.sleep(3 * meter_module.INTERVAL_SECONDS)  # the samples of now must not hide the one of then
    assert meter.peak_bytes >= before + BLOCK * 0.9


def test_a_peak_between_two_samples_is_told_by_the_mark_that_it_leaves(monkeypatch):
    marks = iter([2**20, 2**60])
    monkeypatch.setattr(meter_module, "_high_water", lambda: next(marks, 2**60))
    with Meter() as meter:
        pass
    assert meter.peak_bytes == 2**60


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is resident now")
def test_memory_that_was_freed_before_the_block_does_not_count():
    block = bytearray(b"x") * BLOCK
    high = resident()
    del block
    with Meter() as meter:
        pass
    assert 0 < meter.peak_bytes <= high - BLOCK * 0.9


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails_is_measured_and_leaves_no_thread(error):
    meter = Meter()

    def fail():
        with meter:
            assert len(meters()) == 1
            raise error

    with pytest.raises(error):
        fail()
    assert meters() == []
    assert meter.peak_bytes > 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is resident now")
def test_freed_memory_goes_back_to_the_system():
    blocks = [bytearray(2**16) for _ in range(BLOCK // 2**16)]
    del blocks[:-1]  # the last one keeps the others' place in the heap
    before = resident()
    memory.release()
    assert before - resident() > BLOCK / 2
