"""The settings of an OpenVINO IR, shared by two stages: one converts a program, the other finds a route by itself."""

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
        storage: The type that weights are stored in: float32, or float16 (half the file; the type to compute in is set
            where the model is loaded).
        edits: Requested changes to the interface: names, types, shapes, layouts, image inputs.
        preprocessing: The preprocessing to compile in when the edits request raw images.
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
    def options(self) -> convert.IrOptions:
        """The options of the conversion."""
        return convert.IrOptions(self.storage, self.edits, self.preprocessing, self.extensions)
