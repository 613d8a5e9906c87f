"""Puts a stateful IR, its configuration and its tokenizer as IRs into a folder for openvino_genai."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipeline.artifact import Artifact, Kind
from pipeline.errors import StageError
from pipeline.stage import Stage
from stages.generation import model_folder
from stages.generation.format import MODEL_FOLDER
from stages.openvino import library as openvino_library
from stages.openvino.format import OPENVINO_GENERATION, OPENVINO_STATEFUL
from stages.portable.vendor_errors import first_line

PARTS = ("openvino_tokenizer", "openvino_detokenizer")


@dataclass(frozen=True)
class LayOutOpenvino(Stage):
    """openvino_model.xml and .bin, tokenizer and detokenizer as IRs, and the files of the model's folder.

    It has no settings.

    Source: https://github.com/openvinotoolkit/openvino_tokenizers
    """

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "graph": frozenset({OPENVINO_STATEFUL}),
        "files": frozenset({MODEL_FOLDER}),
    }
    optional: ClassVar[frozenset[str]] = frozenset({"files"})
    produces: ClassVar[Kind | str] = OPENVINO_GENERATION
    requires: ClassVar[tuple[str, ...]] = ("openvino", "openvino_tokenizers", "transformers")
    isolable: ClassVar[bool] = True

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        graph, files = inputs["graph"], inputs.get("files")
        for name in (OPENVINO_STATEFUL.file, OPENVINO_STATEFUL.file.replace(".xml", ".bin")):
            graph.share(name, folder)
        tokenizer = model_folder.share(files, folder)
        if files is not None and tokenizer:
            _tokenizer(folder)
        says = f"{tokenizer}, as IRs too" if tokenizer else "no tokenizer"
        return Artifact(OPENVINO_GENERATION, folder, notes={"says": says})


def _tokenizer(folder: Path) -> None:
    """Writes the IRs of a folder's tokenizer. Raises StageError."""
    openvino = openvino_library.load()
    from transformers import AutoTokenizer

    try:
        import openvino_tokenizers

        read = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        irs = openvino_tokenizers.convert_tokenizer(read, with_detokenizer=True)
    except Exception as e:  # both raise anything
        raise StageError(
            f"openvino_tokenizers cannot convert this tokenizer: {first_line(e)}",
            allowed="a fast tokenizer of BPE, WordPiece, Unigram or SentencePiece",
            command="stages.folder.tokenizer=false for a folder without; openvino_genai then takes only tokens",
        ) from e
    for name, model in zip(PARTS, irs, strict=True):
        openvino.save_model(model, folder / f"{name}.xml", compress_to_fp16=False)
