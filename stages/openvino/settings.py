"""The settings of an OpenVINO IR, which two stages have: one for a program, one that looks for a way by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Optional

from pipeline.artifact import Kind
from pipeline.stage import OneOf
from stages.formats.extensions import Extensions
from stages.interface.edits import Edited, Edits
from stages.interface.images import Preprocessing
from stages.openvino import convert
from stages.openvino.format import OPENVINO


@dataclass(frozen=True)
class Ir(Edited):
    """openvino.convert_model, the interface's names and bounded dimensions, edits to them, and save_model.

    Args:
        storage: What weights are stored in: float32, or float16 (half the file; what is computed in is decided where
            the model is loaded).
        edits: What the IR's interface is to be where it is not the model's.
        preprocessing: What is compiled in when the edits ask for raw images.
        extensions: Paths of libraries and dotted paths of Python classes with operations and conversions of your own.

    Source: https://docs.openvino.ai/2026/openvino-workflow/model-preparation/convert-model-pytorch.html
    """

    storage: Annotated[str, OneOf(convert.STORAGE, "float32 or float16", "precision=fp32 or fp16", near=False)]
    edits: Edits
    preprocessing: Optional[Preprocessing]
    extensions: Annotated[list[str], Extensions()]

    produces: ClassVar[Kind | str] = OPENVINO
    isolable: ClassVar[bool] = True
    version: ClassVar[int] = 2

    @property
    def wanted(self) -> convert.Wanted:
        """What the conversion is told."""
        return convert.Wanted(self.storage, self.edits, self.preprocessing, self.extensions)
