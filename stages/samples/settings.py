"""The base of stages that take samples of a source, to calibrate or to evaluate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Optional

from pipeline.errors import Problem
from pipeline.stage import Stage, World
from stages.data import spec
from stages.interface.images import Preprocessing, unprepared

if TYPE_CHECKING:
    from stages.data.rows import Source


class Sampling(Stage):
    """A stage that takes samples. Its preprocessing is used only where these are photographs.

    This is no dataclass: a stage has these among its own settings, in its own order.
    """

    samples: Any
    count: Optional[int]
    preprocessing: Optional[Preprocessing]
    seed: int

    requires: ClassVar[tuple[str, ...]] = ("numpy", "safetensors")

    @property
    def source(self) -> Source:
        """The source of the samples."""
        from stages.data import sources

        return sources.build(self.samples, self.preprocessing)

    def conflicts(self) -> Iterator[Problem]:
        is_pictured = spec.pictures(self.samples)
        if is_pictured and self.preprocessing is None:
            yield unprepared("samples has images, and nothing says how one becomes an input")

    def identity(self, world: World) -> Mapping[str, Any]:
        return {"source": self.source.identity(world), "count": self.count, "seed": self.seed}
