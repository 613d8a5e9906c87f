"""Runs the tests of the rooms that a change touched: `make quick`, or `make quick BASE=main`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONTRACT = {
    f"pipeline/{name}.py"
    for name in ("__init__", "artifact", "errors", "formats", "notes", "ranges", "settings", "stage")
}
SETUP = {"pyproject.toml", "constraints.txt", "tests/conftest.py", "stages/__init__.py"}
LAYOUT = ["tests/test_layout.py"]  # a second; conf/, stages/ and tests/ name the same stages


def changed(root: Path, base: str | None) -> tuple[str, list[str]]:
    """The commit to compare with, and the files that differ from it: in commits, in the index, on disk, or untracked.

    Args:
        root: A git checkout.
        base: A commit or branch; None for the upstream of the branch that is checked out. The comparison starts
            where both histories part. Without an upstream it is with HEAD, so that only uncommitted files count.

    Raises:
        SystemExit: `base` names no commit.
    """
    if base is None:
        base = _git(root, "rev-parse", "--abbrev-ref", "@{upstream}") or "HEAD"
    start = _git(root, "merge-base", base, "HEAD")
    if not start:
        sys.exit(f"BASE={base}: no commit of this repository\n    try:     make quick BASE=main")
    # Both names of a file that moved: each may have tests.
    different = _git(root, "diff", "--name-only", "--no-renames", "-z", start)
    untracked = _git(root, "ls-files", "--others", "--exclude-standard", "-z")
    return base, sorted({*different.split("\0"), *untracked.split("\0")} - {""})


def chosen(root: Path, files: Iterable[str]) -> dict[str, str]:
    """The tests for a change, each with the changed file that it is for; a folder means all its tests.

    Args:
        root: The checkout.
        files: Paths relative to it; a file may be gone.
    """
    tests = texts(root)
    tests_: dict[str, str] = {}
    for file in files:
        for test in called_by(root, file, tests):
            tests_.setdefault(test, file)
    folders = [f"{test}/" for test in tests_ if not test.endswith(".py")]
    return {test: file for test, file in tests_.items() if not test.startswith(tuple(folders))}


def texts(root: Path) -> dict[str, str]:
    """The text of each test file, by its path."""
    return {str(p.relative_to(root)): p.read_text() for p in sorted((root / "tests").rglob("test_*.py"))}


def called_by(root: Path, file: str, tests: dict[str, str]) -> list[str]:
    """The tests for a change of one file. Arguments as for `chosen`, and the result of `texts`."""
    top, _, rest = file.partition("/")
    if file in CONTRACT | SETUP:
        return ["tests"]
    if top == "conf":
        return [t for t in tests if re.match(r"tests/test_(conf|layout|experiments)", t)]
    if top in ("pipeline", "stages"):
        module = rest.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        room = [] if "/" not in rest else _room(root, f"tests/{top}/{rest}")
        name = "cli" if module == "__main__" else module
        twins = [] if room else [t for t in tests if t.endswith(f"/test_{name}.py")]
        return [*room, *twins, *(t for t in tests if _names(tests[t], f"{top}.{module}")), *_existing(root, LAYOUT)]
    if top == "benchmarks":
        return _room(root, f"tests/{file}")
    if top == "tests":
        return _tests_of_a_test(root, file, tests)
    # Documents, examples, plugins: the tests of the whole that read them.
    word = re.compile(rf"\b{re.escape(top)}\b")
    return [t for t in tests if t.count("/") == 1 and word.search(tests[t])]


def _tests_of_a_test(root: Path, file: str, tests: dict[str, str]) -> list[str]:
    path = Path(file)
    if path.name.startswith("test_"):
        return [file] if file in tests else []
    if path.name == "conftest.py":
        return _existing(root, [str(path.parent)])
    name = path.with_suffix("").parts[1]
    # What lies beside the tests is imported; a folder such as tests/shop may be named by a constant.
    pattern = rf"(from|import) {name}\b|\"{name}[\"/]" + (rf"|\b{name.upper()}\b" if len(path.parts) > 2 else "")
    return [t for t in tests if re.search(pattern, tests[t])]


def _room(root: Path, mirrored: str) -> list[str]:
    """The nearest folder of tests at or above the mirror of a file, below tests/pipeline and the like."""
    folder = Path(mirrored).parent
    while len(folder.parts) > 2:
        if any((root / folder).rglob("test_*.py")):
            return [str(folder)]
        folder = folder.parent
    return []


def _names(text: str, module: str) -> bool:
    """Whether a text imports a module or has its dotted name."""
    package, _, name = module.rpartition(".")
    if name not in text:  # a hundred times as fast
        return False
    listed = rf"from {re.escape(package)} import (\([^)]*)?[^\n]*\b{name}\b"
    return re.search(rf"\b{re.escape(module)}\b|{listed}", text) is not None


def _existing(root: Path, paths: list[str]) -> list[str]:
    return [p for p in paths if (root / p).exists()]


def _git(root: Path, *args: str) -> str:
    """The output of git; empty where it fails."""
    done = subprocess.run(["git", *args], cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def main(base: str | None, options: list[str]) -> None:
    """Prints the tests and why, then becomes pytest.

    Args:
        base: See `changed`.
        options: pytest's.
    """
    against, files = changed(ROOT, base)
    tests = chosen(ROOT, files)
    print(f"{len(files)} files changed since {against}")
    for test, file in tests.items():
        print(f"    {test:48} {file}")
    if not tests:
        print("no test reads any of them; make test runs everything")
        return
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *options, *tests])


if __name__ == "__main__":
    main(sys.argv[1] or None, sys.argv[2:])
