"""A process that native code blocks for ever is ended anyway, with its message."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from pipeline import errors
from pipeline.running import watchdog

# Native code that lets go of the GIL and cannot be interrupted: to sleep is begun again after each signal.
STUCK = """
import ctypes, pathlib, signal, sys, time
from pipeline.running import watchdog
watchdog.PATIENCE_SECONDS = 1.0
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in a shell's background ignores it
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and one under nohup this
def stuck():
    pathlib.Path("ready").write_text("")
    while True:
        pass
def native():
    pathlib.Path("ready").write_text("")
    libc = ctypes.CDLL(None)
    attr = (ctypes.c_char * 64)()
    libc.pthread_mutex_init(attr, None)
    libc.pthread_mutex_lock(attr)
    libc.pthread_mutex_lock(attr)
def last_words(error):
    pathlib.Path("last").write_text(str(error))
try:
    with watchdog.interrupts(), watchdog.at_end(last_words), watchdog.within({seconds}, "reference"):
        {what}()
except KeyboardInterrupt:
    sys.exit(99)
except watchdog.StageError as e:
    print(e)
    sys.exit(98)
"""


def ended(folder, what, sent=None, seconds=None):
    """How a process ends: its exit code, and the last words of those that registered some."""
    script = STUCK.format(what=what, seconds=seconds)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen([sys.executable, "-c", script], cwd=folder, env=env, stderr=subprocess.DEVNULL) as process:
        while not (folder / "ready").exists() and process.poll() is None:
            time.sleep(0.01)
        if sent:
            process.send_signal(sent)
        code = process.wait(60)
    return code, (folder / "last").read_text() if (folder / "last").exists() else None


@pytest.mark.parametrize("sent", watchdog.INTERRUPTS, ids=lambda s: s.name)
@pytest.mark.parametrize(("what", "expected"), [("stuck", (99, None)), ("native", (errors.INTERRUPTED, "None"))])
def test_a_signal_interrupts_python_and_ends_what_does_not_come_back(tmp_path, sent, what, expected):
    assert ended(tmp_path, what, sent) == expected


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("stuck", (98, None)),
        ("native", (errors.STAGE_FAILED, "reference: it was ended after runner.timeout=0.3 seconds")),
    ],
)
def test_a_time_limit_ends_python_and_what_does_not_come_back(tmp_path, what, expected):
    code, words = ended(tmp_path, what, seconds=0.3)
    assert (code, words and words.partition("\n")[0]) == expected


# In a process of its own: an alarm that comes late would end that of all tests.
SWALLOWS = """
import time
from pipeline.running import watchdog
watchdog.AGAIN_SECONDS = 0.5
swallowed = 0
try:
    with watchdog.within(0.05, "export"):
        while True:
            try:
                time.sleep(60)
            except Exception:  # as a vendor's fallback has it
                print("an Exception")
            except BaseException:
                swallowed += 1
                if swallowed == 2:
                    raise
except watchdog.StageError as e:
    (problem,) = e.problems
    print(problem.what, problem.command, sep=chr(10))
"""


def test_a_time_limit_says_what_to_type_and_is_raised_again_when_it_was_swallowed():
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", SWALLOWS], env=env, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        "it was ended after runner.timeout=0.05 seconds",
        "runner.timeout=0.1, or null for no limit",
    ]


def test_what_ends_in_time_and_what_another_thread_does_are_left_alone():
    with watchdog.within(60, "export"):
        pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    ran = []

    def work():
        with watchdog.within(0.01, "export"):
            time.sleep(0.05)
            ran.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ran == [True]


def test_what_is_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with watchdog.interrupts():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
