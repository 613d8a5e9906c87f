"""The files of weights: one file, or an index and the shards that it names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from pipeline.errors import ConfigError, listed

INDEX = ".index.json"
# The files to look for in a folder, best first: safetensors cannot run code, an index says what belongs together.
PATTERNS = (f"*.safetensors{INDEX}", "*.safetensors", f"*.bin{INDEX}", "*.bin", "*.pth", "*.pt")


def files(weights: Path) -> list[Path]:
    """The files behind `weights`, the index first where there is one.

    Args:
        weights: A file with weights, an index such as model.safetensors.index.json, or a folder with either.

    Raises:
        ConfigError: When a folder has none or several; when an index is damaged, or names a file outside its folder or
            one that does not exist.
    """
    first = _in_folder(weights) if weights.is_dir() else weights
    return [first, *_named_by(first)] if first.name.endswith(INDEX) else [first]


def weight_map(index: Path) -> dict[str, str]:
    """Which shard holds which tensor; each shard is a plain file name. Raises ConfigError."""
    try:
        by_tensor = json.loads(index.read_text())["weight_map"]
    except OSError as e:
        raise ConfigError(f"weights={index} cannot be read: {e.strerror}") from e
    except (ValueError, KeyError, TypeError) as e:
        raise ConfigError(
            f"weights={index} is no index of shards: {type(e).__name__}: {e}",
            allowed='JSON with a "weight_map" from names of tensors to names of files',
        ) from e
    if not (isinstance(by_tensor, dict) and by_tensor and all(isinstance(f, str) for f in by_tensor.values())):
        raise ConfigError(f"weights={index}: its weight_map names no files")
    # The names themselves are checked, not what they resolve to: a hub's cache has links to files elsewhere.
    if outside := sorted({n for n in by_tensor.values() if PurePosixPath(n).name != n or "\\" in n or n == ".."}):
        raise ConfigError(
            f"weights={index} names shards that are not in its own folder: {listed(outside)}",
            allowed="plain file names",
        )
    return {str(k): v for k, v in by_tensor.items()}


def digest(paths: Sequence[Path], one: Callable[[Path], str], folder: Path | None = None) -> str:
    """The SHA-256 of the files together: of one, its own; of several, what this prints in their folder:

        LC_ALL=C; sha256sum model*.safetensors* | sha256sum

    Args:
        paths: The files.
        one: The SHA-256 of a single file.
        folder: Their common folder, when they are in folders below it: `find * -type f | sort` lists them then.
    """
    if len(paths) == 1:
        return one(paths[0])
    names = {p.relative_to(folder).as_posix() if folder else p.name: p for p in paths}
    lines = (f"{one(names[name])}  {name}\n" for name in sorted(names))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _in_folder(folder: Path) -> Path:
    for pattern in PATTERNS:
        matches = sorted(folder.glob(pattern))
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise ConfigError(
                f"weights={folder} holds several: {listed(f.name for f in matches)}",
                command=f"model.weights={matches[0]}",
            )
    raise ConfigError(
        f"weights={folder} is a folder without weights; it holds {listed(sorted(f.name for f in folder.iterdir()))}",
        allowed=f"a folder with one of {listed(PATTERNS)}",
    )


def _named_by(index: Path) -> list[Path]:
    names = sorted(set(weight_map(index).values()))
    if missing := [n for n in names if not (index.parent / n).is_file()]:
        raise ConfigError(
            f"weights={index} names {len(missing)} of {len(names)} shards that are not there: {listed(missing)}",
            command=f"put them into {index.parent}",
        )
    return [index.parent / n for n in names]
