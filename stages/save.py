"""Writes the user's copy of the finished artifact."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipeline.artifact import Artifact, Kind
from pipeline.errors import Problem
from pipeline.stage import Keep, Stage

DELIVERABLE = frozenset({Kind.ONNX, Kind.OPENVINO, Kind.OPENVINO_BLOB})


@dataclass(frozen=True)
class Save(Stage):
    """Copies the artifact's files under the model's name; the runner verifies the copy and puts it in place whole.

    Args:
        name: What the files are called, without suffix.
    """

    name: str

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"artifact": DELIVERABLE}
    produces: ClassVar[Kind | str] = Kind.DELIVERY
    keep: ClassVar[Keep] = Keep.DELIVERED

    def problems(self) -> list[Problem]:
        if self.name and "/" not in self.name and not self.name.startswith("."):
            return []
        wrong = f"name is '{self.name}'"
        return [Problem(wrong, allowed="a plain file name without suffix", command="model.name=NAME")]

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        source = inputs["artifact"]
        assert source.folder is not None
        main = source.file
        for path in sorted(source.folder.iterdir()):
            if path.name == "artifact.json":  # the runner writes the copy's own
                continue
            # An ONNX file names its weights file inside; only files that are found by their stem can be renamed.
            by_stem = path.stem == main.stem
            shutil.copyfile(path, folder / (self.name + path.suffix if by_stem else path.name))
        return Artifact(Kind.DELIVERY, folder, notes={"file": self.name + main.suffix})
