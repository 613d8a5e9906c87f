"""What a terminal would obey is shown instead."""

import io
import sys

import pytest

from pipeline.printable import printable, tell


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("opset=18 → ✓\n\tö", "opset=18 → ✓\n\tö"),
        ("\x1b[2J\x07", "\\x1b[2J\\x07"),
        ("a\rb\x00c\x7f", "a\\rb\\x00c\\x7f"),
        ("\x9b31m", "\\x9b31m"),  # C1
        ("\u202egpj.exe", "\\u202egpj.exe"),  # right to left from here
        ("\udc80", "\\udc80"),  # of a file's name that is no UTF-8
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text, shown):
    assert printable(text) == shown


def test_lines_are_kept_unless_asked_otherwise():
    assert printable("a\nb", kept="") == "a\\nb"


class Full(io.StringIO):
    def write(self, text):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("stderr", [Full(), None])
def test_a_stderr_that_cannot_be_written_ends_nothing(monkeypatch, stderr):
    monkeypatch.setattr(sys, "stderr", stderr)
    tell("x")
