"""A model that OpenVINO compiled ahead of time for one device, and the device and versions that it needs.

OpenVINO refuses a blob of another version or for other processor instructions. A blob does not contain its compute
precision: it must be set again when the blob is loaded, so it is written beside the blob.
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
from stages.portable.vendor_errors import first_line

TIES = Path(OPENVINO_BLOB.file).with_suffix(".json").name


@dataclass(frozen=True)
class Ties:
    """The device and versions that a blob can run on.

    Args:
        device: OpenVINO's name of the device, such as CPU.
        device_name: The device's full name.
        openvino: The version with its build.
        requirements: The plugin's own statement of what the blob needs; empty where it makes none.
        properties: The properties to load it with, such as INFERENCE_PRECISION_HINT.
    """

    device: str
    device_name: str
    openvino: str
    requirements: str
    properties: Mapping[str, str]

    @classmethod
    def from_compiled(cls, compiled: Any, core: Any, device: str, properties: Mapping[str, str]) -> Self:
        """The ties of a compiled model."""
        version = str(openvino_library.load().get_version())
        name = str(core.get_property(device, "FULL_DEVICE_NAME")).strip()
        needs = _read(compiled, "RUNTIME_REQUIREMENTS")
        return cls(device, name, version, needs, dict(properties))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """From the file beside a blob. Raises StageError when it is missing or incomplete."""
        try:
            return cls(**json.loads((folder / TIES).read_text()))
        except (OSError, ValueError, TypeError) as e:
            raise StageError(
                f"{TIES} beside the blob does not say what it is tied to: {e}", command="compile it again"
            ) from e

    def write(self, folder: Path) -> None:
        """Writes the file beside the blob."""
        (folder / TIES).write_text(json.dumps(asdict(self), indent=1) + "\n")

    @property
    def machine(self) -> str:
        """The device that the blob is for, in words."""
        return f"{self.device} '{self.device_name}'" + (f", {self.requirements}" if self.requirements else "")

    def __str__(self) -> str:
        return f"OpenVINO {self.openvino} for {self.machine}"


def import_blob(core: Any, artifact: Artifact, properties: Mapping[str, str]) -> Any:
    """The compiled model of a blob, on the device that it was made for.

    Args:
        core: An openvino.Core.
        artifact: The artifact with the blob.
        properties: Properties to load it with; they override those that it was compiled with.

    Raises:
        StageError: When it is not for this machine; it names what the blob was made for and this machine.
    """
    assert artifact.folder is not None
    ties = Ties.read(artifact.folder)
    here = str(openvino_library.load().get_version())
    if ties.openvino != here:
        raise _elsewhere(ties, f"OpenVINO {here}")
    if ties.device not in core.available_devices:
        raise _elsewhere(ties, f"a machine with {', '.join(core.available_devices)}")
    name = str(core.get_property(ties.device, "FULL_DEVICE_NAME")).strip()
    # A plugin's statement of what its blobs need is exact; without it, compare the names of the devices.
    needs, here = (
        (ties.requirements, requirements(core, ties.device)) if ties.requirements else (ties.device_name, name)
    )
    if needs != here:
        raise _elsewhere(ties, f"'{name}', {here}")
    try:
        return core.import_model(artifact.file.read_bytes(), ties.device, {**ties.properties, **properties})
    except Exception as e:  # a plugin raises anything
        message = first_line(e)
        raise StageError(f"{ties.device} does not take this blob: {message}\n    it was made by {ties}") from e


def requirements(core: Any, device: str) -> str:
    """What a blob made here would need, read from a model of one operation; empty where the plugin does not say."""
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
