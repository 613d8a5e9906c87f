"""Compiles an ONNX graph to a TensorRT engine, on a host with the GPU that it is for."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Optional

from pipeline.artifact import Artifact, Kind
from pipeline.errors import listed
from pipeline.stage import FilePath, SomeOf
from stages.onnx.format import ONNX
from stages.tensorrt import failures
from stages.tensorrt.format import TENSORRT
from stages.tensorrt.host.build import build
from stages.tensorrt.host.card import portability
from stages.tensorrt.host.cuda import open_cuda
from stages.tensorrt.settings import EngineSettings

log = logging.getLogger(__name__)

TYPES = ("float32", "float16", "bfloat16", "int8")


@dataclass(frozen=True)
class CompileTensorrt(EngineSettings):
    """TensorRT's builder, strongly typed: model.engine, and model.json, which says where it runs.

    The graph decides the precision. Two builds of one graph on one GPU may differ, since TensorRT chooses kernels by
    measured time; the store keeps one.

    Args, besides those of EngineSettings:
        types: Output types that layers must have: float32, float16, bfloat16, int8. If one is missing, the stage fails.
        timing_cache: The folder with measurements of earlier builds; None for tensorrt/ beside the default store.

    Source: https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/python-api-docs.html
    """

    types: Annotated[list[str], SomeOf(TYPES)]
    timing_cache: Annotated[Optional[str], FilePath()]

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"graph": frozenset({ONNX})}
    produces: ClassVar[Kind | str] = TENSORRT
    requires: ClassVar[tuple[str, ...]] = ("tensorrt", "torch", "numpy")
    needs_gpu: ClassVar[bool] = True
    otherwise: ClassVar[str] = "target=tensorrt_bundle, which a host with a GPU builds the engine from by itself"
    native_to: ClassVar[tuple[str, ...]] = ("gpu",)
    repeatable: ClassVar[bool] = False
    isolable: ClassVar[bool] = True

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        graph = inputs["graph"]
        path = folder / TENSORRT.file
        cache = Path(self.timing_cache).expanduser() if self.timing_cache else _beside_the_store()
        with failures.failures():
            plan = self.plan(graph, types=self.types, timing_cache=str(cache))
            card = build(graph.file, plan, path, open_cuda(), log.info)
        if self.strip_weights:
            assert graph.folder is not None
            for file in graph.folder.glob(f"{ONNX.file}*"):
                graph.share(file.name, folder)
        shown = listed(f"{dtype} {n}" for dtype, n in card["layers"].items())
        facts = {"tensorrt": {**card["host"], "runs_on": portability(card)}}
        return Artifact(TENSORRT, folder, facts=facts, notes={"says": f"{portability(card)}; layers {shown}"})


def _beside_the_store() -> Path:
    store = os.environ.get("DRYDOCK_STORE", "").partition(":")[0]  # the first one is writable
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (Path(store).expanduser() if store else cache / "drydock") / "tensorrt"
