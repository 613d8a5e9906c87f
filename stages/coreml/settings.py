"""The settings of a Core ML package, shared by two stages: one converts a captured program, the other also captures."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar, Optional

from pipeline.artifact import Kind
from pipeline.errors import Problem
from pipeline.stage import OneOf
from stages.coreml import convert
from stages.coreml import library as coreml_library
from stages.coreml import ports as coreml_ports
from stages.coreml.format import COREML
from stages.coreml.package import Metadata
from stages.coreml.ports import Editable, Sizes
from stages.formats.ignored import Ignored
from stages.interface.edits import Edited, Edits
from stages.interface.images import Preprocessing
from stages.interface.labels import DistinctLabels


@dataclass(frozen=True)
class Packaging(Edited):
    """coremltools.convert to an ML Program, verified against the interface.

    Args:
        deployment_target: The oldest system that must run the package, by Apple's names: iOS16, macOS13.
        compute: The type to compute in: float32, or float16. Inputs and outputs keep the model's types where Core ML
            has them: all integers become int32, booleans float32.
        ignored: Operations that compute in float32 in a float16 package, by MIL's names and types.
        compute_units: The units that it should run on. A package does not contain them: they are in the facts.
        shapes: range, or enumerated.
        sizes: The combinations of sizes, where they are enumerated; None for those that the model is checked at.
        edits: Requested changes to the interface: names, types, shapes, image inputs.
        preprocessing: The preprocessing to compile in when the edits request an image.
        classifier: Whether it returns a label, and a score for each label.
        labels: The labels of its scores, in order: names, or the path of a text file with one per line.
        metadata: The metadata of the package, for people.

    Source: https://apple.github.io/coremltools/docs-guides/source/convert-pytorch-workflow.html
    """

    deployment_target: Annotated[str, coreml_library.Target()]
    compute: Annotated[str, OneOf(convert.COMPUTE)]
    ignored: Ignored
    compute_units: Annotated[str, OneOf(coreml_library.UNITS)]
    shapes: Annotated[str, OneOf(coreml_ports.SHAPES)]
    sizes: Optional[list[dict[str, int]]]
    edits: Annotated[Edits, Editable()]
    preprocessing: Optional[Preprocessing]
    classifier: bool
    labels: Annotated[Any, DistinctLabels()]
    metadata: Metadata

    produces: ClassVar[Kind | str] = COREML
    isolable: ClassVar[bool] = True

    def unused(self) -> Collection[str]:
        return super().unused() if self.classifier else (*super().unused(), "labels")

    def conflicts(self) -> Iterator[Problem]:
        yield from super().conflicts()
        if self.shapes != "enumerated" and self.sizes is not None:
            command = "stages.compile.shapes=enumerated"
            yield Problem(f"sizes names some, and shapes is {self.shapes}", "null", command)
        if self.classifier and self.labels is None:
            yield Problem(
                "classifier is true, and labels is null", "the names of its scores", "model.labels=labels.txt"
            )
        if self.compute != "float16" and any(asdict(self.ignored).values()):
            wrong = f"ignored names operations that stay in float32, and compute is {self.compute}"
            yield Problem(wrong, command="precision=fp16")

    @property
    def options(self) -> convert.PackageOptions:
        """The options of the conversion."""
        return convert.PackageOptions(
            self.deployment_target,
            self.compute,
            self.ignored,
            self.compute_units,
            Sizes(self.shapes, self.sizes),
            self.edits,
            self.preprocessing if self.edits.images is not None else None,
            self.labels if self.classifier else None,
            self.metadata,
        )
