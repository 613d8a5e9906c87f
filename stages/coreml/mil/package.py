"""The files of a .mlpackage, found by its manifest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import StageError

MANIFEST = "Manifest.json"
DATA = "Data"
# How a program names the folder that its spec is in.
MODEL_FOLDER = "@model_path/"


@dataclass(frozen=True)
class Package:
    """A .mlpackage whose files are all there.

    Args:
        root: The package, a folder.
        spec: The protobuf file that describes the model.
    """

    root: Path
    spec: Path

    def beside_spec(self, name: str) -> Path:
        """A file that the program names as @model_path/…. Raises StageError when it is not one of the package."""
        path = (self.spec.parent / name.removeprefix(MODEL_FOLDER)).resolve()
        if not name.startswith(MODEL_FOLDER) or not path.is_relative_to(self.root.resolve()):
            raise damaged(self.root, f"the program names '{name}', which is outside of it")
        if not path.is_file():
            raise damaged(self.root, f"the program names '{name}', which is not there")
        return path


def open_package(path: Path) -> Package:
    """Finds the spec through Manifest.json. Raises StageError for what is damaged, or leaves its folder."""
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        entry = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]
        named = str(entry["path"])
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise damaged(path, f"{MANIFEST} does not name a model") from e
    spec = (path / DATA / named).resolve()
    if not spec.is_relative_to((path / DATA).resolve()):
        raise damaged(path, f"{MANIFEST} names '{named}', which is outside of it")
    if not spec.is_file():
        raise damaged(path, f"{MANIFEST} names '{named}', which is not there")
    return Package(path, spec)


def damaged(path: Any, why: str) -> StageError:
    """What to raise for a package that cannot be what was saved."""
    return StageError(
        f"{Path(path).name} is damaged: {why}",
        allowed="a package as it was saved, with all its files",
        command="convert the model again, or copy the whole folder",
    )
