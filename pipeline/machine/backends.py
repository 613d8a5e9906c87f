"""The libraries that stages run on: installed or not, in which version, and whether they work here."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pipeline.errors import Problem, listed
from pipeline.machine.installed import Requirement, how_to_install, requirements
from pipeline.machine.world import is_installed, library_version

# An import of seconds takes minutes from a cold network disk.
PATIENCE_SECONDS = 300.0
AT_ONCE = 2


class State(StrEnum):
    """Whether a library works."""

    WORKS = "works"
    UNFIT = "unfit"  # it works, in a version that is not allowed
    BROKEN = "broken"  # it is installed, and its import fails, crashes or hangs
    MISSING = "missing"


@dataclass(frozen=True)
class Backend:
    """One library.

    Args:
        module: Its name to Python.
        needed_by: The stage that needs it, such as "stages.compile"; empty for an optional one.
        state: Whether it works.
        version: The installed version; "unknown" when no distribution says; None when it is not installed.
        place: Where its import starts; None when it is not installed.
        wanted: The versions that our distribution requires; None when it does not name the library.
        facts: Its own facts that change results, by name.
        error: The last line of what went wrong with its import.
        lacks: The module without which its import fails, if that is what went wrong.
    """

    module: str
    needed_by: Sequence[str]
    state: State
    version: str | None = None
    place: str | None = None
    wanted: Requirement | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    lacks: str | None = None

    @property
    def problem(self) -> Problem | None:
        """The problem with it, if there is one: optional libraries may be missing, and even too old."""
        name = f"{self.module} {self.version}"
        users = f" (for {listed(self.needed_by, 3)})" if self.needed_by else ""
        if self.state is State.BROKEN:
            return Problem(f"{name} does not work{users}: {self.error}", command=self._repair())
        if self.state is State.MISSING and self.needed_by:
            return Problem(f"{self.module} is not installed{users}", command=how_to_install(self.module))
        if self.state is State.UNFIT and self.needed_by and self.wanted:
            return Problem(f"{name} will not do{users}", self.wanted.versions, f"pip install '{self.wanted}'")
        return None

    def _repair(self) -> str:
        if self.version == "unknown":  # no distribution owns it: perhaps a folder of the same name
            return f"remove {self.place}, or take it off PYTHONPATH; then {how_to_install(self.module)}"
        if self.lacks and self.lacks.partition(".")[0] != self.module:
            return f"{how_to_install(self.module)}, which brings '{self.lacks}' too"
        return f"pip install --force-reinstall --no-deps '{self.wanted or self.module}'"


def examine(needed: Mapping[str, Sequence[str]]) -> list[Backend]:
    """Every library that is needed or that our distribution names, each imported in a process of its own.

    Args:
        needed: The modules that a configuration needs, each with what runs on it.
    """
    requirement_of = {r.module: r for r in requirements()}
    modules = [*needed, *(m for m in requirement_of if m not in needed)]
    answers = asyncio.run(_ask_all([m for m in modules if is_installed(m)]))
    return [_judged(m, needed.get(m, ()), requirement_of.get(m), answers.get(m)) for m in modules]


def _judged(
    module: str, needed_by: Sequence[str], requirement: Requirement | None, answer: Mapping[str, Any] | None
) -> Backend:
    if answer is None:
        return Backend(module, needed_by, State.MISSING, wanted=requirement)
    version = library_version(module)
    spec = importlib.util.find_spec(module.partition(".")[0])
    place = (spec.origin or next(iter(spec.submodule_search_locations or ()), None)) if spec else None
    state = State.WORKS if requirement is None or requirement.admits(version) else State.UNFIT
    return Backend(
        module, needed_by, State.BROKEN if "error" in answer else state, version, place, requirement, **answer
    )


async def _ask_all(modules: Sequence[str]) -> dict[str, dict[str, Any]]:
    free = asyncio.Semaphore(AT_ONCE)

    async def ask_in_turn(module: str) -> dict[str, Any]:
        async with free:
            return await ask(module)

    return dict(zip(modules, await asyncio.gather(*map(ask_in_turn, modules)), strict=True))


async def ask(module: str) -> dict[str, Any]:
    """The answer of `pipeline.machine.probe` on a module: "facts", or "error", also when the probe hangs or dies."""
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "pipeline.machine.probe", module)
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    try:
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    except TimeoutError:
        return {"error": f"its import did not end within {PATIENCE_SECONDS:.0f} s"}
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == 0 and out:
        answer = json.loads(out)
        assert isinstance(answer, dict)
        return answer
    last = [line for line in err.decode(errors="replace").splitlines() if line.strip()][-1:]
    return {"error": ": ".join([f"its import ended by {_how(process.returncode)}", *last])}


def _how(code: int | None) -> str:
    try:
        return signal.Signals(-(code or 0)).name
    except ValueError:
        return f"exit code {code}"
