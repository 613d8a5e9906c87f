"""Control characters are shown, not sent to the terminal."""

import io
import sys

import pytest

from pipeline.printable import as_typed, printable, shown, tell


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
    assert printable("a\nb", keep="") == "a\\nb"


class Full(io.StringIO):
    def write(self, text):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("stderr", [Full(), None])
def test_a_stderr_that_cannot_be_written_ends_nothing(monkeypatch, stderr):
    monkeypatch.setattr(sys, "stderr", stderr)
    tell("x")


class Terminal(io.StringIO):
    def isatty(self):
        return True


TEXT = (
    "error: net is wrong, and here is a sentence that has no room in one line of 80 columns\n  try:     x" + " y" * 50
)


def test_a_terminal_has_colours_and_lines_that_fit_and_commands_to_paste(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    first, second, third = shown(TEXT, Terminal()).splitlines()
    assert first.startswith("\x1b[1;31merror:\x1b[0m net is wrong")
    assert second == "       columns"
    assert third == "  \x1b[36mtry:\x1b[0m     x" + " y" * 50


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_can_be_without_colours(monkeypatch, name, value):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, value)
    assert "\x1b" not in shown(TEXT, Terminal())


def test_what_is_no_terminal_gets_the_text_as_it_is():
    assert shown(TEXT, io.StringIO()) == TEXT


def test_commands_are_told_as_this_one_was_typed(monkeypatch):
    text = "python -m pipeline plan=true, or python -m pipeline.doctor"
    assert as_typed(text) == text
    monkeypatch.setattr(sys, "argv", ["/usr/bin/torch-drydock"])
    assert as_typed(text) == "torch-drydock plan=true, or torch-drydock doctor"
