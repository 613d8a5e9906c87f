"""A command in a shell: closed or full streams, a terminal, and errors of the system."""

import os
import pty
import subprocess
import sys

import pytest

from pipeline import errors
from tests.pipeline.conftest import exit_code

SAYS = "from pipeline.terminal import command; command.run(lambda say: say('a\\x1bb') or 0)"
RAISES = "from pipeline.terminal import command\ndef main(say): open('/nowhere/at/all')\ncommand.run(main)"


def shell(line, code=SAYS):
    """How a command ends, and what it writes."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "CODE": code, "PYTHON": sys.executable}
    done = subprocess.run(["bash", "-c", f'"$PYTHON" -c "$CODE" {line}'], env=env, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", (errors.OK, "a\x1bb\n", "")),  # a path that is piped on is as it is
        (">&-", (errors.OK, "", "")),
        ("2>&-", (errors.OK, "a\x1bb\n", "")),
        (">&- 2>&- <&-", (errors.OK, "", "")),
        ("2>/dev/full", (errors.OK, "a\x1bb\n", "")),
        (">/dev/full 2>&1", (errors.USAGE, "", "")),
    ],
)
def test_streams_that_are_closed_or_full(line, expected):
    assert shell(line) == expected


def test_a_stdout_that_is_full_is_told():
    code, _, words = shell(">/dev/full")
    assert code == errors.USAGE
    assert words.startswith("error: stdout cannot be written: No space left on device\n  try:")


def test_what_the_system_refuses_anywhere_is_no_bug_of_ours():
    code, _, words = shell("", RAISES)
    assert code == errors.USAGE
    assert words.startswith("error: /nowhere/at/all: No such file or directory")


def test_a_file_does_not_get_the_number_of_a_stream_that_was_closed():
    opened = "from pipeline.terminal import command; command.open_streams(); print(open('/dev/null').fileno() > 2)"
    assert shell("<&- 2>&-", opened)[:2] == (0, "True\n")


def test_a_terminal_is_shown_what_it_would_obey():
    ours, theirs = pty.openpty()

    def run():
        os.dup2(theirs, 1)
        exec(SAYS)

    assert exit_code(run) == 0
    os.close(theirs)
    assert os.read(ours, 100) == b"a\\x1bb\r\n"
    os.close(ours)
