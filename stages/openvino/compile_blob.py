"""Compiles OpenVINO IR for one device ahead of time, so that loading it there skips that."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from pipeline.artifact import FILES, Artifact, Kind
from pipeline.errors import BackendMissing, Problem
from pipeline.stage import Stage, World
from stages.formats import session
from stages.formats.session import How
from stages.openvino import blob
from stages.openvino import library as openvino_library

CPU = "CPU"


@dataclass(frozen=True)
class CompileBlob(Stage):
    """core.compile_model and export_model: model.blob with what it is tied to, beside the IR that runs anywhere.

    The blob's bytes differ from run to run, since OpenVINO writes names from a counter into it; the store keeps one.

    Args:
        device: By OpenVINO's name: CPU, GPU, GPU.1, NPU.
        compute: What it is to compute in; what loads the blob must ask for the same, which model.json says.
        properties: Of the device's plugin, by its own names; each is read back.
        extensions: Operations that the plugin does not have by itself; see compile_openvino.

    Source: https://docs.openvino.ai/2026/openvino-workflow/running-inference/optimize-inference/optimizing-latency/model-caching-overview.html
    """

    device: str
    compute: str
    properties: dict[str, str]
    extensions: list[str]

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"ir": frozenset({Kind.OPENVINO})}
    produces: ClassVar[Kind | str] = Kind.OPENVINO_BLOB
    requires: ClassVar[tuple[str, ...]] = ("openvino",)
    repeatable: ClassVar[bool] = False
    isolable: ClassVar[bool] = True

    def problems(self) -> list[Problem]:
        found = [*session.compute_problems(self.compute), *openvino_library.problems(self.extensions)]
        if not self.device or self.device.partition(":")[0] in ("AUTO", "MULTI", "HETERO", "BATCH"):
            found.append(
                Problem(
                    f"device is '{self.device}'",
                    allowed="one device, such as CPU, GPU, GPU.1, NPU: a blob is for that one alone",
                    command="stages.blob.device=CPU",
                )
            )
        return found

    def files(self) -> frozenset[str]:
        return openvino_library.files(self.extensions)

    def settle(self, world: World) -> Self:
        openvino_library.identity(self.extensions, world)
        if self.device != CPU and self.device not in (there := openvino_library.quiet().Core().available_devices):
            raise BackendMissing(
                f"stages.blob.device is {self.device}, which this machine does not have",
                allowed=", ".join(there),
                command=f"run on a machine with {self.device} and its driver, or stages.blob.device=CPU",
            )
        return self

    def identity(self, world: World) -> Mapping[str, Any]:
        """The settings and the machine: a blob is native to it. Other devices' names only OpenVINO knows."""
        name = ""
        if self.device != CPU:
            name = str(openvino_library.quiet().Core().get_property(self.device, "FULL_DEVICE_NAME"))
        machine = {"processor": dict(world.processor()), "device_name": name}
        return {**asdict(self), "extensions": openvino_library.identity(self.extensions, world), **machine}

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        from stages.openvino import runtime

        source, core = inputs["ir"], openvino_library.extended(self.extensions)
        asked = runtime.settings(How(self.compute, None, self.properties, self.extensions), self.device)
        compiled = runtime.compiled(core, source.file, self.device, asked)
        told = runtime.read_back(compiled, asked)
        session.must_compute_in(self.compute, runtime.computes_in(told))
        ties = blob.Ties.of(compiled, core, self.device, asked)
        (folder / FILES[Kind.OPENVINO_BLOB]).write_bytes(compiled.export_model().getvalue())
        ties.write(folder)
        for path in (source.file, source.file.with_suffix(".bin")):
            os.link(path, folder / path.name)
        facts = {"blob": asdict(ties)}
        return Artifact(Kind.OPENVINO_BLOB, folder, facts=facts, notes={"says": f"for {ties.machine}"})
