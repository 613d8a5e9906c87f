"""The state of the current folder in git: the commit, and what is not committed."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, listed
from pipeline.stage import World

# A checkout may have a virtual environment or data sets in it that git does not ignore. Of files larger than LARGEST,
# in bytes, and of all files where there are more than MANY, only name and size count.
LARGEST = 16 * 2**20
MANY = 1000


def state(world: World, ours: Sequence[Path] = ()) -> dict[str, Any] | None:
    """The commit and branch, whether there are changes, and a digest of them; None outside a repository.

    The digest is the SHA-256 of the difference to the commit as `git diff HEAD --binary` writes it, and of the name,
    size and content of each file that git neither knows nor is told to ignore. It says whether two states are the
    same, which the commit alone does not.

    Args:
        world: Hashes files, each once for as long as it does not change.
        ours: Folders that runs write to; files in them do not count as changes.
    """
    status = _git("status", "--porcelain=v2", "--branch", "--untracked-files=all", "-z")
    if status is None:
        return None
    top = Path((_git("rev-parse", "--show-toplevel") or b".").decode().rstrip("\n"))
    lines = status.decode(errors="surrogateescape").split("\0")
    head = {line.split()[1]: line.split()[2] for line in lines if line.startswith("# ")}
    unknown = sorted(line[2:] for line in lines if line.startswith("? ") and not _is_in(top / line[2:], ours))
    changed = [line for line in lines if line and not line.startswith(("# ", "? "))]
    checkout = {"commit": head.get("branch.oid"), "branch": head.get("branch.head"), "dirty": bool(changed or unknown)}
    return {**checkout, "diff": _digest(top, unknown, world)} if checkout["dirty"] else checkout


def refuse_changes(git: Mapping[str, Any] | None) -> None:
    """Raises ConfigError unless everything that git knows of is committed."""
    if git is None:
        raise ConfigError(
            "require_clean is true, and this folder is in no git repository that can be read",
            allowed="a checkout without changes",
            command="git init, or require_clean=false",
        )
    if git["dirty"]:
        lines = (_git("status", "--porcelain") or b"").decode(errors="replace").splitlines()
        raise ConfigError(
            f"require_clean is true, and the checkout has changes: {listed(line[3:] for line in lines)}",
            allowed="a checkout without changes",
            command="git commit or git stash them, or require_clean=false",
        )


def _digest(top: Path, unknown: Sequence[str], world: World) -> str:
    digest = hashlib.sha256(_git("diff", "HEAD", "--binary", "--no-ext-diff", "--no-textconv", "--no-color") or b"")
    for name in unknown:
        path = top / name
        try:
            size = path.stat().st_size
            content = world.digest(path) if size <= LARGEST and len(unknown) <= MANY else ""
        except OSError:  # gone by now, or a link to nowhere
            size, content = -1, ""
        digest.update(f"{name}\0{size}\0{content}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _is_in(path: Path, folders: Sequence[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _git(*args: str) -> bytes | None:
    """The output of a git command; None when it fails or there is no git."""
    try:
        return subprocess.run(["git", *args], capture_output=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
