"""A decoder whose cache is inputs and outputs, asked piece by piece."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.errors import StageError, listed
from stages.interface.generation import Generation
from stages.interface.interface import Interface

if TYPE_CHECKING:
    import numpy as np

    from stages.formats.session import Session

    Array = np.ndarray[Any, Any]

IDS, MASK, POSITIONS, LOGITS = "input_ids", "attention_mask", "position_ids", "logits"


class Stepwise:
    """See `stages.portable.generating.Decoder`.

    Args:
        session: What answers, by the names of the interface.
        interface: Of inputs called IDS, MASK and perhaps POSITIONS beside the cache's.
        generation: Which inputs and outputs are the cache.

    Raises:
        StageError: For other inputs.
    """

    def __init__(self, session: Session, interface: Interface, generation: Generation) -> None:
        self._session, self._interface, self._cache = session, interface, generation.cache
        self._before: dict[str, Array] = {}
        others = [n for n in interface.inputs if n not in {c.input for c in self._cache}]
        if unknown := {*others} - {IDS, MASK, POSITIONS}:
            raise StageError(
                f"this decoder takes {listed(sorted(unknown))}, and nothing says what that is in a text",
                allowed=f"{IDS}, {MASK}, {POSITIONS} and a cache",
            )

    def start(self, rows: int) -> None:
        """Likewise."""
        import numpy as np

        for cache in self._cache:
            spec = self._interface.inputs[cache.input]
            sizes = [0 if axis == cache.axis else size for axis, size in enumerate(spec.shape)]
            self._before[cache.input] = np.zeros([rows, *map(int, sizes[1:])], spec.dtype)

    def logits(self, ids: Array, mask: Array, positions: Array) -> Array:
        """Likewise."""
        given = {IDS: ids, MASK: mask, POSITIONS: positions, **self._before}
        found = self._session({name: given[name] for name in self._interface.inputs})
        self._before = {c.input: found[c.output] for c in self._cache}
        return found[LOGITS]
