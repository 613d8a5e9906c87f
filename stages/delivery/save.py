"""Writes the user's copy of the finished artifact, alone or as a bundle that can be checked on its target machine."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Optional

from pipeline import formats
from pipeline.artifact import Artifact, Kind
from pipeline.errors import ConfigError, StageError, listed
from pipeline.stage import Keep, Requires, Stage
from stages.delivery import bundle
from stages.delivery.generation_readme import GenerationReadme
from stages.delivery.name import RECORD, FileName
from stages.delivery.readme import Readme
from stages.generation.format import TOKENS
from stages.interface.images import Preprocessing
from stages.interface.interface import Interface
from stages.interface.labels import Labels
from stages.portable import handed_over

DELIVERABLE = formats.kinds("delivered")


@dataclass(frozen=True)
class Save(Stage):
    """Copies the artifact's files under the model's name; the runner verifies the copy and moves it into place whole.

    Args:
        name: The name of the files, without suffix.
        bundle: Whether to add the reference in this artifact's own terms, a script that checks the artifact with only
            the runtime and numpy, and a README. The settings below are for bundles only.
        license: The model's license, for the README; None where it is not stated.
        labels: The names of the only output's scores, in order: names, or the path of a text file with one name per
            line; None for no labels.
        preprocessing: The preprocessing of photographs, for the README.
    """

    name: Annotated[str, FileName()]
    bundle: Annotated[bool, Requires({True: ("numpy", "safetensors")})]
    license: Optional[str]
    labels: Annotated[Any, Labels()]
    preprocessing: Optional[Preprocessing]

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "artifact": DELIVERABLE,
        "reference": frozenset({Kind.REFERENCE}),
        "tokens": frozenset({TOKENS}),
    }
    optional: ClassVar[frozenset[str]] = frozenset({"tokens"})  # only for a language model's folder
    produces: ClassVar[Kind | str] = Kind.DELIVERY
    keep: ClassVar[Keep] = Keep.DELIVERED

    def ports(self) -> Mapping[str, frozenset[Kind]]:
        return self.consumes if self.bundle else {"artifact": DELIVERABLE}

    def makes(self, kinds: Mapping[str, Kind]) -> Kind:
        """Raises ConfigError for a bundle of a kind that the self-check cannot run."""
        if self.bundle and kinds["artifact"] not in bundle.KINDS:
            raise ConfigError(
                f"stages.save.bundle is true, and its self-check cannot run {kinds['artifact']}",
                allowed=listed(sorted(bundle.KINDS)),
                command="stages.save.bundle=false",
            )
        return Kind.DELIVERY

    def unused(self) -> Collection[str]:
        return () if self.bundle else ("labels",)

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        source = inputs["artifact"]
        assert source.folder is not None
        main = source.file
        copies: dict[str, str] = {}
        # A folder for a runtime keeps the names that the runtime looks for.
        name = self.name if formats.format_of(source.kind).generation is None else main.stem
        for path in sorted(p for p in source.folder.rglob("*") if not p.is_dir()):
            original = path.relative_to(source.folder)
            if original == Path(f"{RECORD}.json"):  # the runner writes the copy's own
                continue
            # An ONNX file contains the name of its weights file; only files that are found by their stem are renamed.
            first, *inside = original.parts
            top = name + Path(first).suffix if Path(first).stem == main.stem else first
            if self.bundle and original == Path(bundle.README):  # a bundle has its own README
                top = bundle.CALLING
            copy = folder.joinpath(top, *inside)
            copy.parent.mkdir(parents=True, exist_ok=True)
            source.copy(original.as_posix(), copy)
            copies[copy.relative_to(folder).as_posix()] = original.as_posix()
        file = name + main.suffix
        if self.bundle and formats.format_of(source.kind).generation:
            self._write_generation_bundle(source, inputs.get("tokens"), file, folder)
        elif self.bundle:
            self._write_bundle(source, inputs["reference"], file, folder)
        return Artifact(Kind.DELIVERY, folder, notes={"file": file, "copies": copies, "bundle": self.bundle})

    def _write_bundle(self, artifact: Artifact, reference: Artifact, file: str, folder: Path) -> None:
        if artifact.record is None or handed_over.verdict(artifact.record) is None:
            raise StageError(
                "a bundle needs the tolerance of the artifact's check, and no check of this one is on record",
                command="put a check before save, or stages.save.bundle=false",
            )
        says = bundle.format_part(artifact)
        if says and (unfit := says.unfit(artifact.facts)):
            raise StageError([unfit])
        labels = self._labels(Interface.read(artifact))
        cases = bundle.cases(artifact, reference)
        bundle.write_cases(cases, folder / bundle.REFERENCE)
        (folder / bundle.SCRIPT).write_text(bundle.script_for(artifact), encoding="utf-8")
        if labels:
            (folder / bundle.LABELS).write_text("\n".join(labels) + "\n", encoding="utf-8")
        readme = Readme(artifact, file, cases, self.license, len(labels), self.preprocessing)
        (folder / bundle.README).write_text(str(readme), encoding="utf-8")

    def _write_generation_bundle(self, artifact: Artifact, tokens: Artifact | None, file: str, folder: Path) -> None:
        checks = artifact.record["checks"] if artifact.record is not None else ()
        if tokens is None or not any("tokens" in c for c in checks if c["delivered"]):
            raise StageError(
                "a bundle needs the tokens of the folder's check, and no check of this one is on record",
                command="put check_generation before save, or stages.save.bundle=false",
            )
        shutil.copyfile(tokens.file, folder / bundle.TOKENS)
        (folder / bundle.SCRIPT).write_text(bundle.script_for(artifact), encoding="utf-8")
        readme = GenerationReadme(artifact, file, [], self.license, 0, None)
        (folder / bundle.README).write_text(str(readme), encoding="utf-8")

    def _labels(self, interface: Interface) -> list[str]:
        """The names, one for each score. Raises StageError where the number of scores is known to differ."""
        labels = list(self.labels or ())
        shapes = {name: output.shape for name, output in interface.outputs.items()}
        (name, shape), *others = shapes.items()
        if labels and not others and shape and isinstance(shape[-1], int) and shape[-1] != len(labels):
            raise StageError(
                f"labels has {len(labels)} names, and the output '{name}' has {shape[-1]} scores",
                allowed=f"{shape[-1]} names, in the order of the scores",
                command="model.labels=null, or a file with one name a line",
            )
        return labels
