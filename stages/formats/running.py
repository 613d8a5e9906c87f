"""What all stages that run artifacts share: the type to compute in, the modules needed, the processor in their keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from pipeline.artifact import Kind
from pipeline.stage import OneOf, Stage
from stages.formats import session

COMPUTE = OneOf(session.COMPUTE, command="precision=fp32, fp16 or bf16")


@dataclass(frozen=True)
class Running(Stage):
    """A stage that runs the artifacts it receives.

    Attributes:
        runs: The ports whose artifacts are run.
    """

    runs: ClassVar[tuple[str, ...]] = ("artifact",)
    native_to: ClassVar[tuple[str, ...]] = ("processor",)  # it decides which types can be computed in, and last digits

    def modules(self, kinds: Mapping[str, Kind]) -> tuple[str, ...]:
        received = [kinds[port] for port in self.runs if port in kinds]
        return tuple(sorted({*super().modules(kinds), *(m for kind in received for m in session.modules(kind))}))
