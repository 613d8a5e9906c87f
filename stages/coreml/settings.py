"""The settings of a Core ML package, which two stages have: one for a captured program, one that captures by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Optional, Self

from pipeline.artifact import Kind
from pipeline.errors import Problem
from pipeline.stage import Stage, World
from stages.coreml import convert
from stages.coreml import library as coreml_library
from stages.coreml import ports as coreml_ports
from stages.coreml.package import Metadata
from stages.coreml.ports import Sizes
from stages.formats.ignored import Ignored
from stages.interface import labels
from stages.interface.edits import Edits
from stages.interface.images import Preprocessing


@dataclass(frozen=True)
class Packaging(Stage):
    """coremltools.convert to an ML Program, held to the interface.

    Args:
        deployment_target: The oldest system that is to run the package, by Apple's names: iOS16, macOS13.
        compute: What it computes in: float32, or float16. Inputs and outputs keep the model's types either way, where
            Core ML has them: of whole numbers int32 alone, of booleans float32.
        ignored: Operations that compute in float32 in a package of float16, by MIL's names and types.
        compute_units: What it is meant to run on. A package does not hold it: it travels in the facts.
        shapes: range, or enumerated.
        sizes: Of the dynamic dimensions, where they are enumerated; None for those that the model is checked at.
        edits: What the package's interface is to be where it is not the model's.
        preprocessing: What is compiled in when the edits ask for an image.
        classifier: Whether it answers with a label and a score for each.
        labels: Of its scores, in order: names, or the path of a text file with one a line.
        metadata: What the package says of itself to people.

    Source: https://apple.github.io/coremltools/docs-guides/source/convert-pytorch-workflow.html
    """

    deployment_target: str
    compute: str
    ignored: Ignored
    compute_units: str
    shapes: str
    sizes: Optional[list[dict[str, int]]]
    edits: Edits
    preprocessing: Optional[Preprocessing]
    classifier: bool
    labels: Any
    metadata: Metadata

    produces: ClassVar[Kind | str] = Kind.COREML
    isolable: ClassVar[bool] = True

    def problems(self) -> list[Problem]:
        found = [
            *coreml_library.target_problems(self.deployment_target),
            *coreml_library.unknown("compute", self.compute, convert.COMPUTE),
            *coreml_library.unknown("compute_units", self.compute_units, coreml_library.UNITS),
            *coreml_library.unknown("shapes", self.shapes, coreml_ports.SHAPES),
            *coreml_ports.problems(self.edits),
            *self.ignored.problems(),
            *self.edits.problems(self.preprocessing),
            *labels.problems(self.labels),
        ]
        if self.sizes is not None and self.shapes != "enumerated":
            command = "stages.compile.shapes=enumerated"
            found.append(Problem(f"sizes names some, and shapes is {self.shapes}", allowed="null", command=command))
        if self.classifier and self.labels is None:
            allowed, command = "the names of its scores", "model.labels=labels.txt"
            found.append(Problem("classifier is true, and labels is null", allowed=allowed, command=command))
        if self.compute != "float16" and any(asdict(self.ignored).values()):
            wrong = f"ignored names what is to stay in float32, and compute is {self.compute}"
            found.append(Problem(wrong, command="precision=fp16"))
        return found

    def files(self) -> frozenset[str]:
        return frozenset({self.labels}) if self.classifier and isinstance(self.labels, str) else frozenset()

    def settle(self, world: World) -> Self:
        """Reads the file that `labels` names. Raises ConfigError."""
        return replace(self, labels=labels.read(self.labels)) if self.classifier else self

    def identity(self, world: World) -> Mapping[str, Any]:
        compiled_in = self.edits.images is not None
        told = {**asdict(self), "labels": self.labels if self.classifier else None}
        return {**told, "preprocessing": told["preprocessing"] if compiled_in else None}

    @property
    def wanted(self) -> convert.Wanted:
        """What the conversion is told."""
        return convert.Wanted(
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
