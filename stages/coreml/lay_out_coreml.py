"""Puts a stateful package, its configuration and its tokenizer into one folder, with a README."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipeline.artifact import Artifact, Kind
from pipeline.notes import Notes
from pipeline.stage import Stage
from stages.coreml.format import COREML_GENERATION, COREML_STATEFUL
from stages.coreml.generation import bundle
from stages.generation import model_folder
from stages.generation.format import MODEL_FOLDER

README = "README.md"


@dataclass(frozen=True)
class LayOutCoreml(Stage):
    """model.mlpackage, the unchanged files of the model's folder, and a README.md for Python and Swift.

    It has no settings.

    Source: https://apple.github.io/coremltools/docs-guides/source/stateful-models.html
    """

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "package": frozenset({COREML_STATEFUL}),
        "files": frozenset({MODEL_FOLDER}),
    }
    optional: ClassVar[frozenset[str]] = frozenset({"files"})
    produces: ClassVar[Kind | str] = COREML_GENERATION

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        package = inputs["package"]
        assert package.folder is not None
        for path in (p for p in package.file.rglob("*") if p.is_file()):
            name = path.relative_to(package.folder)
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            package.share(str(name), folder)
        tokenizer = model_folder.share(inputs.get("files"), folder)
        text = bundle.readme(COREML_GENERATION.file, package.facts)
        (folder / README).write_text(text, encoding="utf-8")
        return Artifact(
            COREML_GENERATION, folder, notes=Notes(says=f"{tokenizer or 'no tokenizer'}; {README} for Swift")
        )
