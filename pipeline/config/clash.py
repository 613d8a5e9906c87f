"""Other packages that are called `pipeline` or `stages`, in the current folder or the environment.

Python has one package of a name in a process. A model's code that imports its own `stages` would get ours, and
`python -m pipeline` in a folder with a `pipeline` runs that one. So this is reported before anything else.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from pipeline.errors import ConfigError, Problem
from pipeline.printable import by_script, tell

# Each with a file or folder that only our package has, in this checkout or another one.
OURS = {"pipeline": "artifact.py", "stages": "portable"}


def refuse() -> None:
    """Raises ConfigError where there is another package of these names, with both places and what to do.

    While Python starts a command of ours, nothing would catch the error: it is printed, and the process ends.
    """
    if not (problems := list(_problems())):
        return
    error = ConfigError(problems)
    started = getattr(sys.modules["__main__"], "__spec__", None)
    if not by_script() and (started is None or started.name.partition(".")[0] != "pipeline"):
        raise error
    for problem in problems:
        tell(f"error: {problem}")
    raise SystemExit(error.exit_code)


def _problems() -> Iterator[Problem]:
    root = Path(__file__).resolve().parents[2]
    for name, mark in OURS.items():
        ours = root / name
        spec = importlib.util.find_spec(name)
        at = [Path(p) for p in (spec and spec.submodule_search_locations) or ()]
        imported = next((p for p in at if p.resolve() != ours and not _holds((p / mark).exists)), None)
        theirs = imported or next(_others(name, mark), None)
        if theirs:
            yield Problem(
                f"two packages are named {name}: {theirs} and Drydock's, {ours}",
                allowed="one of them: it is what every import of that name gets",
                command=f"mkdir -p drydock && ln -s ../conf ../MY_PACKAGE drydock/ && cd drydock # if nothing of yours "
                f"that runs there imports {name}; else rename {theirs}",
            )


def _others(name: str, mark: str) -> Iterator[Path]:
    """Packages and modules of a name that are not ours: in the current folder, without an __init__.py too."""
    here = Path.cwd()
    for folder in dict.fromkeys([here, *(Path(p) for p in sys.path if p)]):
        package, module = folder / name, folder / f"{name}.py"
        if _holds(module.is_file):
            yield module
        elif not _holds((package / mark).exists) and (
            _holds((package / "__init__.py").is_file) or (folder == here and _holds(partial(_has_modules, package)))
        ):
            yield package


def _has_modules(folder: Path) -> bool:
    return any(folder.glob("*.py"))


def _holds(check: Callable[[], bool]) -> bool:
    """Whether a check of a path succeeds; False for an OSError: what cannot be read cannot be imported either."""
    try:
        return check()
    except OSError:
        return False
