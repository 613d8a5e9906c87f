"""The real command line with one fault at one file operation, and again without: `command/over/EIO/60`."""

from __future__ import annotations

import functools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.chaos import forked, invariants, scenes
from benchmarks.chaos.faults import ERRORS, KILLS, Fault
from benchmarks.chaos.toy import Hold, Say, Upper, Verify, Write, stages

ROOT = Path(__file__).resolve().parents[2]
PATHS = (Path(__file__).with_name("injected"), ROOT)
KILLS_WANTED, ERRORS_WANTED = 210, 270  # 200 of each are to have struck; five errors of six do
SECONDS = 60
COMMAND = (
    sys.executable, "-m", "pipeline", "target=toy", "model=custom", "model.factory=no.Net", "model.weights=random",
)  # fmt: skip
SCENES: Mapping[str, tuple[str, ...]] = {  # what was said by the job before, and what is typed besides
    "cold": (),
    "over": ("before",),
    "warm": ("after",),
    "isolated": ("before", "runner.isolate=true"),
}
PLACES = ("conf", "store", "out", "run")


def names(share: float, rng: random.Random) -> list[str]:
    last = {scene: operations(scene) for scene in SCENES}
    shares = [*[KILLS] * round(share * KILLS_WANTED), *[ERRORS] * round(share * ERRORS_WANTED)]
    chosen = []
    for number, hows in enumerate(shares):
        scene = list(SCENES)[number % len(SCENES)]
        chosen.append(f"command/{scene}/{rng.choice(hows)}/{rng.randint(1, last[scene])}")
    return chosen


def attempt(name: str, home: Path) -> tuple[bool, list[str]]:
    """Whether the fault struck, and what is wrong."""
    _, scene, how, at = name.split("/")
    user = home / "user"
    command, *more = SCENES[scene] or ("",)
    shutil.copytree(_furnished(command), user, symlinks=True)
    before = invariants.entries(user / "store")
    ended = _typed(user, "after", *more, CHAOS_ROOT=str(user), CHAOS_HOW=how, CHAOS_AT=at, CHAOS_COUNT=str(home / "n"))
    code, text = ended
    wrong = ["it hung"] if code is None else []
    if code != -signal.SIGKILL:
        wrong += invariants.in_words({"code": code, "told": text}, user, stages(""))
        wrong += (
            [f"a traceback: {text[-600:]}"] if re.search(r"^Traceback|a bug in Drydock", text, re.MULTILINE) else []
        )
    whole = [None, expected("after"), *([expected(command)] if command else [])]
    wrong += invariants.output_is(user / "out", [expected("after")] if code == 0 else whole)
    wrong += invariants.nothing_lost(user / "store", before)
    wrong += _next_is_right(user, more, Fault(how).harms)
    count = int.from_bytes((home / "n").read_bytes(), "little")
    return code == -signal.SIGKILL or count >= int(at), wrong + forked.leftovers()


def _next_is_right(user: Path, more: list[str], quarantine: bool) -> list[str]:
    code, text = _typed(user, "after", *more)
    if code != 0:
        return [f"the next run: {code}: {text[-600:]}"]
    wrong = invariants.output_is(user / "out", [expected("after")])
    return [*(f"after the next run: {w}" for w in wrong), *invariants.litter(user, PLACES, quarantine=quarantine)]


@functools.cache
def expected(text: str) -> invariants.Files:
    """What a job delivers where nothing goes wrong."""
    contents = invariants.delivered(_furnished(text) / "out")
    assert contents is not None
    return contents


@functools.cache
def operations(scene: str) -> int:
    """How many file operations the command line does in a scene, roughly: paths of the system differ."""
    command, *more = SCENES[scene] or ("",)
    with scenes.folder() as home:
        shutil.copytree(_furnished(command), home / "user")
        _typed(home / "user", "after", *more, CHAOS_ROOT=str(home / "user"), CHAOS_COUNT=str(home / "n"))
        return int.from_bytes((home / "n").read_bytes(), "little")


@functools.cache
def _furnished(text_: str) -> Path:
    """A user's folder, where a job has said something, or none has run; copied for each trial, gone at the end."""
    user = scenes.kept.enter_context(scenes.folder())
    (user / "conf" / "stage").mkdir(parents=True)
    (user / "conf" / "target").mkdir()
    for name, stage in (("say", Say), ("hold", Hold), ("write", Write), ("upper", Upper), ("check", Verify)):
        own = "text: after\n" if stage is Say else ""
        target = f"_target_: {stage.__module__}.{stage.__qualname__}\nneeds: null\n"
        (user / "conf" / "stage" / f"toy_{name}.yaml").write_text(f"# A tiny stage.\n{target}{own}")
    mounted = "".join(f"  - /stage@stages.{n}: {'' if n == 'save' else 'toy_'}{n}\n" for n in stages(""))
    head, tail = "# @package _global_\n# Tiny stages.\ndefaults:\n", "target: {name: toy, compute: float32}\n"
    (user / "conf" / "target" / "toy.yaml").write_text(f"{head}{mounted}  - _self_\n{tail}")
    if text_:
        code, text = _typed(user, text_)
        assert code == 0, text
    return user


def _typed(user: Path, text: str, *more: str, **environment: str) -> tuple[int | None, str]:
    """The exit code of the command line, None where it hangs, and what it said on stderr."""
    own = [f"store={user}/store", f"output={user}/out", f"hydra.run.dir={user}/run", f"stages.say.text={text}", *more]
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, PATHS)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "DRYDOCK_TRUST": "benchmarks",
        **environment,
    }
    with tempfile.TemporaryFile(dir=scenes.SCRATCH) as output:
        process = subprocess.Popen([*COMMAND, *own], cwd=user, env=env, stdout=subprocess.DEVNULL, stderr=output)
        try:
            code: int | None = process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = None
        output.seek(0)
        return code, output.read().decode(errors="replace")
