"""portable/native_output.py."""

from __future__ import annotations

import logging
import os
import sys
import threading

import pytest

from stages.portable import native_output


@pytest.fixture
def vendor(caplog):
    caplog.set_level(logging.INFO, "vendor")
    return caplog


@pytest.mark.parametrize(
    "write",
    [
        lambda: os.write(1, b"a graph\n"),  # as C++ does
        lambda: print("a graph"),
        lambda: print("a graph", file=sys.stderr),
        lambda: logging.StreamHandler(sys.stderr).emit(logging.makeLogRecord({"msg": "a graph"})),
    ],
)
def test_what_is_written_in_the_block_goes_to_the_log_and_not_to_the_screen(capfd, vendor, write):
    with native_output.to_log():
        write()
    assert vendor.messages == ["a graph"]
    print("after")
    assert capfd.readouterr() == ("after\n", "")


def test_another_threads_words_pass_so_that_a_progress_display_goes_on(capfd, vendor):
    with native_output.to_log():
        other = threading.Thread(target=lambda: print("progress", file=sys.stderr))
        other.start()
        other.join()
    assert capfd.readouterr().err == "progress\n"
    assert vendor.messages == []


def test_a_failure_in_the_block_loses_nothing(capfd, vendor):
    with pytest.raises(ZeroDivisionError), native_output.to_log():
        divmod(os.write(1, b"a graph\n"), 0)
    assert vendor.messages == ["a graph"]
