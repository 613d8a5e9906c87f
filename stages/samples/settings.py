"""A stage that takes samples of a source, one to calibrate and one to evaluate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Optional

from pipeline.errors import Problem
from pipeline.stage import Stage, World
from stages.data import sources
from stages.data.rows import Source
from stages.interface.images import Preprocessing, unprepared


class Sampling(Stage):
    """A stage that takes samples. Its preprocessing has a use only where these are photographs.

    No dataclass: a stage has these among its own settings, in its own order.
    """

    samples: Any
    count: Optional[int]
    preprocessing: Optional[Preprocessing]
    seed: int

    requires: ClassVar[tuple[str, ...]] = ("numpy", "safetensors")

    @property
    def source(self) -> Source:
        """Where the samples come from."""
        return sources.of(self.samples, self.preprocessing)

    def conflicts(self) -> Iterator[Problem]:
        is_pictured = sources.pictures(self.samples)
        if is_pictured and self.preprocessing is None:
            yield unprepared("samples has images, and nothing says how one becomes an input")

    def identity(self, world: World) -> Mapping[str, Any]:
        return {"source": self.source.identity(world), "count": self.count, "seed": self.seed}
