"""Facts of this machine's processor: the names and instruction sets that results depend on."""

import os

import pytest

from pipeline.machine import processor

X86 = """processor\t: 0
model name\t: Some CPU @ 2 GHz
flags\t\t: fpu vme avx2 avx512f amx_bf16 hypervisor

processor\t: 1
model name\t: Another
flags\t\t: sse4_2
"""
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd asimddp bf16 cpuid\n\n"


@pytest.fixture
def cpuinfo(tmp_path, monkeypatch):
    """Puts a text in the place of /proc/cpuinfo."""
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    processor.describe.cache_clear()
    yield (tmp_path / "cpuinfo").write_text
    processor.describe.cache_clear()


def test_the_instruction_sets_that_matter_are_told_in_order_and_the_others_are_not(cpuinfo):
    cpuinfo(X86)
    fields = processor.describe()
    assert (fields["name"], fields["instructions"]) == ("Some CPU @ 2 GHz", "amx_bf16 avx2 avx512f")


def test_an_arm_processor_is_told_by_its_features(cpuinfo):
    cpuinfo(ARM)
    assert processor.describe()["instructions"] == "asimd asimddp bf16"


@pytest.mark.usefixtures("cpuinfo")
def test_where_nothing_lists_them_the_instruction_sets_are_unknown():
    fields = processor.describe()
    assert fields["instructions"] == "unknown"
    assert fields["name"]


def test_no_name_of_this_host_is_told():
    assert os.uname().nodename not in processor.describe().values()


def test_cores_are_those_that_this_process_may_use():
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert processor.cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert processor.cores() == len(allowed)
