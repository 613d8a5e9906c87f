"""The settings of a TensorRT engine, shared by the stage that builds one and the stage that delivers a build bundle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, Optional

from pipeline.artifact import Artifact
from pipeline.errors import Problem
from pipeline.stage import AtLeast, Between, OneOf, Setting, Stage
from stages.interface.interface import Interface
from stages.tensorrt import profiles as engine_profiles
from stages.tensorrt.host.build import Plan
from stages.tensorrt.profiles import Profiles

SPANS = "the smallest, the usual and the largest values, each a list of integers"


class Spans(Setting):
    """Values of inputs by name."""

    def problems(self, name: str, value: Mapping[str, Any]) -> Iterable[Problem]:
        wrong = {called: spans for called, spans in value.items() if not _are_spans(spans)}
        return [Problem(f"{name} has {n}: {spans}", "as [[1], [2], [8]]: " + SPANS) for n, spans in wrong.items()]


@dataclass(frozen=True)
class EngineSettings(Stage):
    """The settings of an engine.

    Args:
        profiles: The optimisation profiles: dimension to [smallest, usual, largest], such as {batch: [1, 4, 16]}; None
            for one with the model's own sizes.
        shape_values: Name of an input whose values decide shapes, to its smallest, usual and largest values.
        workspace_mib: Scratch memory for a layer; None for all there is.
        optimization_level: How hard to look for fast kernels, 0 to 5.
        tf32: Whether float32 may be multiplied with 10 bits of mantissa.
        verbosity: What the engine reports about its layers; below detailed, the network's types count as its precision.
        hardware_compatibility: Other GPUs that it must run on.
        version_compatible: Whether later versions of TensorRT can load it.
        lean_runtime: Whether the engine then contains the runtime for that.
        strip_weights: Whether weights stay in the ONNX file, which is then delivered with the engine.
        weight_streaming: Whether weights may stay in the host's memory.
    """

    profiles: Annotated[Optional[list[Any]], Profiles()]
    shape_values: Annotated[dict[str, Any], Spans()]
    workspace_mib: Annotated[Optional[int], AtLeast(1, "1 or more; null for all there is")]
    optimization_level: Annotated[int, Between(0, 5)]
    tf32: bool
    verbosity: Annotated[str, OneOf(("detailed", "layer_names_only", "none"))]
    hardware_compatibility: Annotated[str, OneOf(("none", "same_compute_capability", "ampere_plus"))]
    version_compatible: bool
    lean_runtime: bool
    strip_weights: bool
    weight_streaming: bool

    def plan(self, graph: Artifact, **more: Any) -> Plan:
        """The plan for a graph; `more` has the plan's other fields. Raises StageError."""
        own = {f.name for f in fields(EngineSettings)} - {"profiles"}
        profiles = engine_profiles.resolve(self.profiles, Interface.read(graph))
        settings = {name: getattr(self, name) for name in own}
        return Plan(name=f"drydock-{graph.digest[:16]}", profiles=profiles, **settings, **more)


def _are_spans(values: Any) -> bool:
    return (
        isinstance(values, Sequence)
        and len(values) == 3
        and all(isinstance(v, Sequence) and v and all(isinstance(n, int) for n in v) for v in values)
    )
