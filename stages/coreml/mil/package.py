"""Finds the files of a .mlpackage by its manifest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import StageError

MANIFEST = "Manifest.json"
DATA = "Data"
# A program's name for the folder of its spec.
MODEL_FOLDER = "@model_path/"


@dataclass(frozen=True)
class Package:
    """A .mlpackage with all its files.

    Args:
        root: The package, a folder.
        spec: The protobuf file that describes the model.
    """

    root: Path
    spec: Path

    def beside_spec(self, name: str) -> Path:
        """A file that the program names as @model_path/…. Raises StageError when it is not in the package."""
        path = (self.spec.parent / name.removeprefix(MODEL_FOLDER)).resolve()
        if not name.startswith(MODEL_FOLDER) or not path.is_relative_to(self.root.resolve()):
            raise damaged(self.root, f"the program names '{name}', which is outside of it")
        if not path.is_file():
            raise damaged(self.root, f"the program names '{name}', which is not there")
        return path


def open_package(path: Path) -> Package:
    """Finds the spec through Manifest.json. Raises StageError for a damaged package, or one that leaves its folder."""
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        entry = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]
        location = str(entry["path"])
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise damaged(path, f"{MANIFEST} does not name a model") from e
    spec = (path / DATA / location).resolve()
    if not spec.is_relative_to((path / DATA).resolve()):
        raise damaged(path, f"{MANIFEST} names '{location}', which is outside of it")
    if not spec.is_file():
        raise damaged(path, f"{MANIFEST} names '{location}', which is not there")
    return Package(path, spec)


def damaged(path: Any, why: str) -> StageError:
    """The error for a package that is not as it was saved."""
    return StageError(
        f"{Path(path).name} is damaged: {why}",
        allowed="a package as it was saved, with all its files",
        command="convert the model again, or copy the whole folder",
    )
