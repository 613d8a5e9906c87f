"""The files of a Core ML package, byte for byte the same for the same content.

coremltools names its items by random UUIDs, writes maps in any order and adds the date; here nothing tells when or
where a package was made. Source: coremltools' Model.proto, and the packages that its libmodelpackage writes.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from pipeline.errors import ConfigError, listed, nearest
from stages.coreml.mil import schema
from stages.coreml.mil.package import damaged

DATA = "com.apple.CoreML"  # the folder in Data/, and the author of the items
MODEL = f"Data/{DATA}/model.mlmodel"
WEIGHTS = f"Data/{DATA}/weights"
BLOB = f"{WEIGHTS}/weight.bin"
# Under which coremltools notes when it ran.
DATE = "com.github.apple.coremltools.conversion_date"


# Not frozen: OmegaConf makes a frozen dataclass read-only before it has filled its mappings.
@dataclass
class Metadata:
    """What a package says of itself to people.

    Args:
        author: Who made it.
        license: Of the model.
        version: Of the model.
        short_description: In a sentence or two.
        inputs: Input to its description, by the package's name for it.
        outputs: Output to its description, likewise.
    """

    author: Optional[str]
    license: Optional[str]
    version: Optional[str]
    short_description: Optional[str]
    inputs: dict[str, str]
    outputs: dict[str, str]

    def put(self, spec: Any, facts: Mapping[str, Any]) -> None:
        """Writes it into a model, and plain JSON by name beside it. Raises ConfigError for a port that is not there."""
        told = spec.description.metadata
        told.author, told.license = self.author or "", self.license or ""
        told.versionString, told.shortDescription = self.version or "", self.short_description or ""
        for what, ports, described in (
            ("inputs", spec.description.input, self.inputs),
            ("outputs", spec.description.output, self.outputs),
        ):
            known = {port.name: port for port in ports}
            for name, text in described.items():
                if name not in known:
                    wrong = f"metadata.{what} describes '{name}'{nearest(name, known)}, which the package does not have"
                    raise ConfigError(wrong, allowed=listed(known))
                known[name].shortDescription = text
        note(spec, facts)


def note(spec: Any, facts: Mapping[str, Any]) -> None:
    """Writes plain JSON by name into a model's metadata."""
    told = spec.description.metadata.userDefined
    for name, value in facts.items():
        told[f"drydock.{name}"] = value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def write(spec: Any, weights: Path | None, package: Path) -> None:
    """A package of a model and the folder that its weights are in.

    Args:
        spec: A coremltools Model_pb2.Model; the conversion's date is taken out of it.
        weights: The folder with weight.bin; None for a program without weights.
        package: Where to write it; not there yet.
    """
    _settle(spec)
    (package / MODEL).parent.mkdir(parents=True)
    (package / MODEL).write_bytes(spec.SerializeToString(deterministic=True))
    items = {MODEL: "CoreML Model Specification"}
    if weights is not None and any(weights.iterdir()):
        shutil.copytree(weights, package / WEIGHTS)
        items[WEIGHTS] = "CoreML Model Weights"
    (package / "Manifest.json").write_text(_manifest(items), encoding="utf-8")


def spec_of(package: Path) -> Any:
    """The model of a package, without importing coremltools. Raises StageError for one that is damaged."""
    from google.protobuf.message import DecodeError

    try:
        return schema.model().FromString((package / MODEL).read_bytes())
    except (OSError, DecodeError) as e:
        raise damaged(package, f"{MODEL} cannot be read") from e


def size(package: Path) -> int:
    """The bytes of all its files."""
    return sum(p.stat().st_size for p in package.rglob("*") if p.is_file())


def _settle(spec: Any) -> None:
    """Takes the date out of a model, and the order of a map of the process out of its note of what built it."""
    spec.description.metadata.userDefined.pop(DATE, None)
    if "buildInfo" in spec.mlProgram.attributes:
        noted = spec.mlProgram.attributes["buildInfo"].immediateValue.dictionary.values
        ordered = sorted(noted, key=lambda pair: pair.key.SerializeToString(deterministic=True))
        del noted[:]
        noted.extend(ordered)


def _manifest(items: dict[str, str]) -> str:
    """Manifest.json as libmodelpackage writes it, the names of items made of their paths."""
    names = {path: str(uuid.uuid5(uuid.NAMESPACE_URL, path)).upper() for path in items}
    entries = {
        names[path]: {
            "author": DATA,
            "description": says,
            "name": path.rpartition("/")[2],
            "path": path.removeprefix("Data/"),
        }
        for path, says in items.items()
    }
    told = {"fileFormatVersion": "1.0.0", "itemInfoEntries": entries, "rootModelIdentifier": names[MODEL]}
    return json.dumps(told, indent=4, sort_keys=True) + "\n"
