"""Puts a decoder's graph, its configuration and its tokenizer into the folder that onnxruntime-genai loads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipeline.artifact import Artifact, Kind
from pipeline.stage import Stage
from stages.generation import model_folder
from stages.generation.format import MODEL_FOLDER
from stages.interface.generation import Generation
from stages.interface.interface import Interface
from stages.onnx import file as onnx_file
from stages.onnx.format import ONNX, ONNX_GENERATION
from stages.onnx.generation import config as genai


@dataclass(frozen=True)
class LayOutOnnx(Stage):
    """model.onnx, genai_config.json and the files of the model's folder, as they are. It has no settings.

    onnxruntime-genai loads the folder. optimum's ORTModelForCausalLM and transformers.js read the same names.

    Source: https://onnxruntime.ai/docs/genai/reference/config.html
    """

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "graph": frozenset({ONNX}),
        "files": frozenset({MODEL_FOLDER}),
    }
    optional: ClassVar[frozenset[str]] = frozenset({"files"})
    produces: ClassVar[Kind | str] = ONNX_GENERATION
    requires: ClassVar[tuple[str, ...]] = ("onnx",)

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        graph = inputs["graph"]
        generation = Generation.read(graph)
        for name in (ONNX.file, *onnx_file.files_beside(onnx_file.read(graph.file, weights=False))):
            graph.share(name, folder)
        files = model_folder.share(inputs.get("files"), folder)
        document = genai.config(
            generation, list(Interface.read(graph).inputs), model_folder.generation_config(inputs.get("files"))
        )
        genai.write(document, folder)
        says = f"{genai.CONFIG} for a {document['model']['type']}" + (f", {files}" if files else ", no tokenizer")
        return Artifact(ONNX_GENERATION, folder, notes={"says": says})
