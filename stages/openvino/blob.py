"""A model that OpenVINO compiled ahead of time for one device, and what it is tied to.

OpenVINO holds a blob to its own version and to the processor's instructions. The precision of its computation is not
in it: who loads it must ask for that again, so it is written beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from pipeline.artifact import Artifact
from pipeline.errors import StageError
from stages.openvino import library as openvino_library
from stages.openvino.format import OPENVINO_BLOB
from stages.portable.said import first_line

TIES = Path(OPENVINO_BLOB.file).with_suffix(".json").name


@dataclass(frozen=True)
class Ties:
    """What a blob is tied to.

    Args:
        device: By OpenVINO's name for it, such as CPU.
        device_name: What that device calls itself.
        openvino: The version with its build.
        requirements: What the plugin itself says that a blob needs; empty where it does not say.
        properties: What to load it with, such as INFERENCE_PRECISION_HINT.
    """

    device: str
    device_name: str
    openvino: str
    requirements: str
    properties: Mapping[str, str]

    @classmethod
    def of(cls, compiled: Any, core: Any, device: str, properties: Mapping[str, str]) -> Self:
        """The ties of a compiled model."""
        version = str(openvino_library.quiet().get_version())
        name = str(core.get_property(device, "FULL_DEVICE_NAME")).strip()
        told = _read(compiled, "RUNTIME_REQUIREMENTS")
        return cls(device, name, version, told, dict(properties))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """From the file beside a blob. Raises StageError when it is not there or does not say."""
        try:
            return cls(**json.loads((folder / TIES).read_text()))
        except (OSError, ValueError, TypeError) as e:
            raise StageError(
                f"{TIES} beside the blob does not say what it is tied to: {e}", command="compile it again"
            ) from e

    def write(self, folder: Path) -> None:
        """Beside the blob."""
        (folder / TIES).write_text(json.dumps(asdict(self), indent=1) + "\n")

    @property
    def machine(self) -> str:
        """What it is for, in words."""
        return f"{self.device} '{self.device_name}'" + (f", {self.requirements}" if self.requirements else "")

    def __str__(self) -> str:
        return f"OpenVINO {self.openvino} for {self.machine}"


def loaded(core: Any, artifact: Artifact, asked: Mapping[str, str]) -> Any:
    """The compiled model of a blob, on the device that it is tied to.

    Args:
        core: An openvino.Core.
        artifact: With the blob.
        asked: Properties to load it with, over those that it was compiled with.

    Raises:
        StageError: When it is not for this machine, with what it was made for and what this is.
    """
    assert artifact.folder is not None
    ties = Ties.read(artifact.folder)
    here = str(openvino_library.quiet().get_version())
    if ties.openvino != here:
        raise _elsewhere(ties, f"OpenVINO {here}")
    if ties.device not in core.available_devices:
        raise _elsewhere(ties, f"a machine with {', '.join(core.available_devices)}")
    name = str(core.get_property(ties.device, "FULL_DEVICE_NAME")).strip()
    # What a plugin says that its blobs need is exact; without that, the device must be of the same name.
    needs, here = (
        (ties.requirements, requirements(core, ties.device)) if ties.requirements else (ties.device_name, name)
    )
    if needs != here:
        raise _elsewhere(ties, f"'{name}', {here}")
    try:
        return core.import_model(artifact.file.read_bytes(), ties.device, {**ties.properties, **asked})
    except Exception as e:  # a plugin raises anything
        told = first_line(e)
        raise StageError(f"{ties.device} does not take this blob: {told}\n    it was made by {ties}") from e


def requirements(core: Any, device: str) -> str:
    """What a blob that is made here would need, by a model of one operation; empty where the plugin does not say."""
    from openvino import Model, opset11

    x = opset11.parameter([1], name="x")
    return _read(core.compile_model(Model([opset11.relu(x)], [x], "probe"), device), "RUNTIME_REQUIREMENTS")


def _read(compiled: Any, name: str) -> str:
    try:
        return str(compiled.get_property(name)).strip()
    except RuntimeError:  # a plugin without it
        return ""


def _elsewhere(ties: Ties, here: str) -> StageError:
    return StageError(
        f"the blob was made by {ties}; this is {here}",
        allowed="the machine and version that it was made for; the IR beside it runs anywhere",
        command="also=compiled on this machine, or load the .xml",
    )
