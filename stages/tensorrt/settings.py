"""The settings of a TensorRT engine, for the stage that builds one and for the stage that hands over how to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Optional

from pipeline.artifact import Artifact
from pipeline.errors import Problem, listed, nearest
from pipeline.stage import Stage
from stages.interface.interface import Interface
from stages.tensorrt import profiles as engine_profiles
from stages.tensorrt.host.build import Plan

ALLOWED: Mapping[str, tuple[str, ...]] = {
    "verbosity": ("detailed", "layer_names_only", "none"),
    "hardware_compatibility": ("none", "same_compute_capability", "ampere_plus"),
}

SPANS = "the smallest, the usual and the largest values, each a list of whole numbers"


@dataclass(frozen=True)
class EngineSettings(Stage):
    """What an engine is asked to be.

    Args:
        profiles: Of each optimisation profile, [smallest, usual, largest] of dimensions by name: {batch: [1, 4, 16]};
            None for one with the model's own sizes.
        shape_values: Smallest, usual and largest values of inputs that shapes are made of, by name.
        workspace_mib: Scratch memory for a layer; None for all there is.
        optimization_level: How hard to look for fast kernels, 0 to 5.
        tf32: Whether float32 may be multiplied with 10 bits of mantissa.
        verbosity: What the engine tells of its layers; with less than detailed its precision is that of the network.
        hardware_compatibility: Other GPUs that it is to run on.
        version_compatible: Whether later versions of TensorRT are to load it.
        lean_runtime: Whether it then brings the runtime for that itself.
        strip_weights: Whether weights stay in the ONNX file, which then goes with the engine.
        weight_streaming: Whether weights may stay in the host's memory.
    """

    profiles: Optional[list[Any]]
    shape_values: dict[str, Any]
    workspace_mib: Optional[int]
    optimization_level: int
    tf32: bool
    verbosity: str
    hardware_compatibility: str
    version_compatible: bool
    lean_runtime: bool
    strip_weights: bool
    weight_streaming: bool

    def problems(self) -> list[Problem]:
        found = engine_profiles.problems(self.profiles)
        for name, known in ALLOWED.items():
            if (value := getattr(self, name)) not in known:
                found.append(Problem(f"{name} is {value}{nearest(value, known)}", allowed=listed(known)))
        if not 0 <= self.optimization_level <= 5:
            found.append(Problem(f"optimization_level is {self.optimization_level}", allowed="0 to 5"))
        if self.workspace_mib is not None and self.workspace_mib < 1:
            found.append(Problem(f"workspace_mib is {self.workspace_mib}", allowed="1 or more; null for all there is"))
        for name, values in self.shape_values.items():
            if not _are_spans(values):
                found.append(Problem(f"shape_values has {name}: {values}", allowed="as [[1], [2], [8]]: " + SPANS))
        return found

    def plan(self, graph: Artifact, **more: Any) -> Plan:
        """What these come to for a graph; `more` is what else a plan has. Raises StageError."""
        own = {f.name for f in fields(EngineSettings)} - {"profiles"}
        profiles = engine_profiles.resolved(self.profiles, Interface.of(graph))
        settings = {name: getattr(self, name) for name in own}
        return Plan(name=f"drydock-{graph.digest[:16]}", profiles=profiles, **settings, **more)


def _are_spans(values: Any) -> bool:
    return (
        isinstance(values, Sequence)
        and len(values) == 3
        and all(isinstance(v, Sequence) and v and all(isinstance(n, int) for n in v) for v in values)
    )
