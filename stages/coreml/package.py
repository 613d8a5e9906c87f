"""Writes the files of a Core ML package: equal content gives equal bytes.

coremltools names the items by random UUIDs, writes maps in any order and adds the date; the files written here do not
depend on time or place. Source: coremltools' Model.proto, and the packages that its libmodelpackage writes.
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
# coremltools' key for the date of the conversion.
DATE = "com.github.apple.coremltools.conversion_date"


# Not frozen: OmegaConf makes a frozen dataclass read-only before it has filled its mappings.
@dataclass
class Metadata:
    """The metadata of a package, for people.

    Args:
        author: The author of the model.
        license: The license of the model.
        version: The version of the model.
        short_description: A sentence or two.
        inputs: Name of an input, as in the package, to its description.
        outputs: Name of an output, as in the package, to its description.
    """

    author: Optional[str]
    license: Optional[str]
    version: Optional[str]
    short_description: Optional[str]
    inputs: dict[str, str]
    outputs: dict[str, str]

    def put(self, spec: Any, facts: Mapping[str, Any]) -> None:
        """Writes it, and facts as plain JSON, into a model. Raises ConfigError for a port that does not exist."""
        metadata = spec.description.metadata
        metadata.author, metadata.license = self.author or "", self.license or ""
        metadata.versionString, metadata.shortDescription = self.version or "", self.short_description or ""
        for what, ports, described in (
            ("inputs", spec.description.input, self.inputs),
            ("outputs", spec.description.output, self.outputs),
        ):
            by_name = {port.name: port for port in ports}
            for name, text in described.items():
                if name not in by_name:
                    wrong = (
                        f"metadata.{what} describes '{name}'{nearest(name, by_name)}, which the package does not have"
                    )
                    raise ConfigError(wrong, allowed=listed(by_name))
                by_name[name].shortDescription = text
        note(spec, facts)


def note(spec: Any, facts: Mapping[str, Any]) -> None:
    """Writes plain JSON by name into a model's metadata."""
    entries = spec.description.metadata.userDefined
    for name, value in facts.items():
        entries[f"drydock.{name}"] = value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def write(spec: Any, weights: Path | None, package: Path) -> None:
    """Writes a package from a model and the folder of its weights.

    Args:
        spec: A coremltools Model_pb2.Model; the conversion's date is removed from it.
        weights: The folder with weight.bin; None for a program without weights.
        package: Where to write it; it must not exist.
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
    """The model of a package, read without coremltools. Raises StageError for a damaged one."""
    from google.protobuf.message import DecodeError

    try:
        return schema.model().FromString((package / MODEL).read_bytes())
    except (OSError, DecodeError) as e:
        raise damaged(package, f"{MODEL} cannot be read") from e


def size(package: Path) -> int:
    """Bytes of all its files together."""
    return sum(p.stat().st_size for p in package.rglob("*") if p.is_file())


def _settle(spec: Any) -> None:
    """Makes a model reproducible: removes the date, and sorts buildInfo, whose order depends on the process."""
    spec.description.metadata.userDefined.pop(DATE, None)
    if "buildInfo" in spec.mlProgram.attributes:
        noted = spec.mlProgram.attributes["buildInfo"].immediateValue.dictionary.values
        ordered = sorted(noted, key=lambda pair: pair.key.SerializeToString(deterministic=True))
        del noted[:]
        noted.extend(ordered)


def _manifest(items: dict[str, str]) -> str:
    """Manifest.json as libmodelpackage writes it, but with item names derived from their paths."""
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
    manifest = {"fileFormatVersion": "1.0.0", "itemInfoEntries": entries, "rootModelIdentifier": names[MODEL]}
    return json.dumps(manifest, indent=4, sort_keys=True) + "\n"
