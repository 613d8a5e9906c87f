"""Moves a decoder's cache into the graph, as states, for OpenVINO's runtime for language models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Optional

from pipeline.artifact import Artifact, Kind, carried
from pipeline.stage import OneOf, Stage
from stages.interface.generation import Generation
from stages.openvino import convert
from stages.openvino import library as openvino_library
from stages.openvino.format import OPENVINO, OPENVINO_STATEFUL
from stages.openvino.generation import stateful


@dataclass(frozen=True)
class MakeStateful(Stage):
    """The cache's inputs and outputs become states; `beam_idx` says which row's state each row of a batch continues.

    Args:
        cache: The type of the keys and values that the IR requests: float32, float16, bfloat16 or int8. None for
            OpenVINO's own choice, which on many CPUs is int8.

    Source: https://docs.openvino.ai/2026/openvino-workflow/running-inference/inference-request/stateful-models.html
    """

    cache: Annotated[Optional[str], OneOf(stateful.CACHE_TYPES)]

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"graph": frozenset({OPENVINO})}
    produces: ClassVar[Kind | str] = OPENVINO_STATEFUL
    requires: ClassVar[tuple[str, ...]] = ("openvino",)
    isolable: ClassVar[bool] = True

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        source = inputs["graph"]
        generation = Generation.read(source)
        model = openvino_library.load().Core().read_model(source.file)
        stateful.convert(model, generation)
        for name, value in stateful.cache_settings(self.cache).items():
            model.set_rt_info(value, ["runtime_options", name])
        cache_type = self.cache or "what OpenVINO chooses"
        facts = {stateful.FACT: {"cache": self.cache}}
        convert.write(model, carried(source.facts, facts), folder, kind=OPENVINO_STATEFUL)
        states = len(generation.cache)
        return Artifact(
            OPENVINO_STATEFUL, folder, facts=facts, notes={"says": f"{states} states, kept in {cache_type}"}
        )
