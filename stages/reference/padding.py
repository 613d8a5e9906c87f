"""Where the outputs of a model have a meaning: at tokens, and not at the padding to the left of a text.

Nobody reads a model's answers at padding, and a softmax over masked numbers only differs in each runtime. There,
outputs count as zeros on both sides of a comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stages.interface import fills
from stages.interface.interface import Input, Output, parts

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]
    Arrays = Mapping[str, Array]


def followed(inputs: Mapping[str, Input], outputs: Mapping[str, Output]) -> dict[str, tuple[str, int]]:
    """For each output with a place per token: the mask that says which are padding, and the axis of the places.

    Args:
        inputs: With their fills. A mask is [batch, past+sequence] or [batch, sequence], with its zeros at the left.
        outputs: With a place for all tokens, as caches have, or for those of this call only, as logits have.
    """
    places = {}
    for mask, spec in inputs.items():
        if not fills.is_left(spec) or not isinstance(size := spec.shape[-1], str):
            continue
        sizes = (size, parts(size)[-1])
        for name, output in outputs.items():
            axes = [axis for axis, d in enumerate(output.shape) if axis and d in sizes]
            if axes and output.shape[0] == spec.shape[0]:
                places[name] = (mask, axes[0])
    return places


def valid(inputs: Arrays, outputs: Arrays, places: Mapping[str, tuple[str, int]]) -> dict[str, Array]:
    """Where each output counts, as booleans that broadcast to it.

    Args:
        inputs: Of the case.
        outputs: Of the case.
        places: As `followed` returns them.
    """
    counts = {}
    for name, (mask, axis) in places.items():
        values = outputs[name]
        last = inputs[mask][:, inputs[mask].shape[1] - values.shape[axis] :] != 0
        counts[name] = last.reshape([len(last), *(last.shape[1] if a == axis else 1 for a in range(1, values.ndim))])
    return counts


def without(outputs: Arrays, counts: Mapping[str, Array]) -> dict[str, Array]:
    """Outputs with zeros where they do not count; those of another shape unchanged, for the comparison to report."""
    import numpy as np

    return {
        n: np.where(counts[n], v, v.dtype.type(0)) if n in counts and _fits(v, counts[n]) and not counts[n].all() else v
        for n, v in outputs.items()
    }


def _fits(values: Array, counts: Array) -> bool:
    return values.ndim == counts.ndim and all(c in (1, n) for n, c in zip(values.shape, counts.shape, strict=True))
