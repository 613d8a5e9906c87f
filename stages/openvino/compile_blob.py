"""Compiles OpenVINO IR for one device ahead of time, so that it loads faster there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pipeline.artifact import Artifact, Kind
from pipeline.errors import BackendMissing, Problem
from pipeline.stage import Setting, Stage, World
from stages.formats import session
from stages.formats.extensions import Extensions
from stages.formats.running import COMPUTE
from stages.formats.session import How
from stages.openvino import blob
from stages.openvino import library as openvino_library
from stages.openvino.format import OPENVINO, OPENVINO_BLOB

CPU = "CPU"


class Device(Setting):
    """A device of this machine, by OpenVINO's name."""

    def problems(self, name: str, value: str) -> Iterable[Problem]:
        if not value or value.partition(":")[0] in ("AUTO", "MULTI", "HETERO", "BATCH"):
            allowed = "one device, such as CPU, GPU, GPU.1, NPU: a blob is only for that one"
            yield Problem(f"{name} is '{value}'", allowed, command="stages.blob.device=CPU")

    def settle(self, name: str, value: str, world: World) -> str:
        if value != CPU and value not in (there := openvino_library.load().Core().available_devices):
            wrong = f"stages.blob.{name} is {value}, which this machine does not have"
            command = f"run on a machine with {value} and its driver, or stages.blob.device=CPU"
            raise BackendMissing(wrong, allowed=", ".join(there), command=command)
        return value


@dataclass(frozen=True)
class CompileBlob(Stage):
    """core.compile_model and export_model: model.blob, model.json with what it needs, and the IR, which runs anywhere.

    The blob's bytes differ from run to run, since OpenVINO writes names from a counter into it; the store keeps one.

    Args:
        device: OpenVINO's name of the device: CPU, GPU, GPU.1, NPU.
        compute: The type to compute in. Whoever loads the blob must set it again; model.json has it.
        properties: Properties of the device's plugin, by its own names; each is read back.
        extensions: Operations that the plugin lacks; see compile_openvino.

    Source: https://docs.openvino.ai/2026/openvino-workflow/running-inference/optimize-inference/optimizing-latency/model-caching-overview.html
    """

    device: Annotated[str, Device()]
    compute: Annotated[str, COMPUTE]
    properties: dict[str, str]
    extensions: Annotated[list[str], Extensions()]

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"ir": frozenset({OPENVINO})}
    produces: ClassVar[Kind | str] = OPENVINO_BLOB
    requires: ClassVar[tuple[str, ...]] = ("openvino",)
    native_to: ClassVar[tuple[str, ...]] = ("processor",)
    repeatable: ClassVar[bool] = False
    isolable: ClassVar[bool] = True

    def identity(self, world: World) -> Mapping[str, Any]:
        """The settings and the machine, to which a blob is native. Only OpenVINO knows the names of other devices."""
        core = openvino_library.load().Core() if self.device != CPU else None
        name = str(core.get_property(self.device, "FULL_DEVICE_NAME")) if core else ""
        return {**super().identity(world), "device_name": name}

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        from stages.openvino import runtime

        source, core = inputs["ir"], openvino_library.core_with(self.extensions)
        settings = runtime.settings(How(self.compute, None, self.properties, self.extensions), self.device)
        compiled = runtime.compile_model(core, source.file, self.device, settings)
        actual = runtime.read_back(compiled, settings)
        session.must_compute_in(self.compute, runtime.computes_in(actual))
        ties = blob.Ties.from_compiled(compiled, core, self.device, settings)
        (folder / OPENVINO_BLOB.file).write_bytes(compiled.export_model().getvalue())
        ties.write(folder)
        for path in (source.file, source.file.with_suffix(".bin")):
            source.share(path.name, folder)
        facts = {"blob": asdict(ties)}
        return Artifact(OPENVINO_BLOB, folder, facts=facts, notes={"says": f"for {ties.machine}"})
