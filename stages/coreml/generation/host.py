"""Checks a language model on the Mac that it was brought to: it goes on with prompts as the original did.

    python selfcheck.py               by a loop of this script over the package, through Core ML

It needs macOS 15 or later, Python 3.10 or later, numpy and coremltools. It reads artifact.json and tokens.json beside
itself.
Exit codes: 0 it agrees, 2 wrong usage, 3 it cannot run, 4 the runtime or numpy is not installed, 5 it does not agree.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from stages.portable.generating import Rows, Text, filling, greedy
from stages.portable.handed_over import CANNOT_RUN, Stop, module
from stages.portable.selfcheck_tokens import Runtime, main

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

COREMLTOOLS, FILE, IDS, POSITION, LOGITS = "coremltools", "model.mlpackage", "input_ids", "position", "logits"
# Why there is no other runtime.
NO_RUNTIME = "Core ML runs programs, and leaves picking tokens to the caller"


class Program(Protocol):
    """A stateful package that is loaded."""

    def start(self) -> None:
        """Zeros in all states."""

    def __call__(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Outputs by name; the states stay as they are left."""


class Loop:
    """A package, its cache in its states, one text at a time.

    Args:
        program: It.
        told: What the decoder is; see interface/generation.py.
        sizes: How many tokens a call may have: from one to another number, or some numbers alone.
        says: What runs it.
    """

    by_ours = NO_RUNTIME
    computes_in = "float32"
    properties: Mapping[str, str] = {}

    def __init__(self, program: Program, told: Mapping[str, Any], sizes: Sequence[int], says: str) -> None:
        self._program, self._told, self._sizes, self.says = program, told, sorted(sizes), f"our own loop, {says}"
        self._position = 0
        self.steps: list[Array] = []  # of the last text, [vocabulary] of each token that was picked

    def __call__(self, prompts: Rows, new: int) -> list[list[int]]:
        """See `stages.generation.folders.Generator`. Rows come one after another: a package takes one text."""
        ends, fills = self._told["eos"], filling(self._told)
        return [greedy(self, [prompt], new, ends, fills)[0] for prompt in prompts]

    def unfit(self, prompts: Rows, new: int) -> str:
        """Likewise."""
        return ""

    def tokenized(self, texts: Sequence[Text]) -> list[list[int]] | None:
        """Likewise: Core ML has no tokenizer."""
        return None

    def start(self, rows: int) -> None:
        """See `stages.portable.generating.Decoder`."""
        self._program.start()
        self._position, self.steps = 0, []

    def logits(self, ids: Array, mask: Array, positions: Array) -> Array:
        """Likewise, of one row, in as few calls as go. Raises Stop where tokens do not fit."""
        np = module("numpy")
        at, total, parts = 0, ids.shape[1], []
        if self._position + total > self._told["positions"]:
            raise Stop(CANNOT_RUN, f"the cache has room for {self._told['positions']} tokens")
        while at < total:
            size = next((n for n in reversed(self._sizes) if n <= total - at), 0)
            if not size:
                raise Stop(CANNOT_RUN, f"{total - at} tokens are left, and a call has {self._sizes[0]} at least")
            given = {IDS: ids[:, at : at + size], POSITION: np.array([self._position])}
            returned = self._program({name: value.astype(np.int32) for name, value in given.items()})
            parts.append(returned[LOGITS])
            at, self._position = at + size, self._position + size
        whole: Array = np.concatenate(parts, axis=1)
        self.steps.append(whole[0, -1])
        return whole


class ByCoreml:
    """A package in Core ML, through coremltools."""

    def __init__(self, path: Path) -> None:
        coremltools = module(COREMLTOOLS)
        self._model = coremltools.models.MLModel(str(path), compute_units=coremltools.ComputeUnit.ALL)
        self.says = f"coremltools {coremltools.__version__}"
        self._state: Any = None

    @property
    def sizes(self) -> list[int]:
        """How many tokens a call may have."""
        (taken,) = (p for p in self._model.get_spec().description.input if p.name == IDS)
        array = taken.type.multiArrayType
        if array.shapeRange.sizeRanges:
            span = array.shapeRange.sizeRanges[1]
            return list(range(span.lowerBound, span.upperBound + 1))
        return [s.shape[1] for s in array.enumeratedShapes.shapes] or [array.shape[1]]

    def start(self) -> None:
        """See `Program`."""
        self._state = self._model.make_state()

    def __call__(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Likewise."""
        told: Mapping[str, Array] = self._model.predict(dict(inputs), state=self._state)
        return told


def _loaded(folder: Path, told: Mapping[str, Any], claim: Mapping[str, Any], given: argparse.Namespace) -> Loop:
    program = ByCoreml(folder / FILE)
    return Loop(program, told, program.sizes, program.says)


RUNTIME = Runtime("coremltools", "coreml_generation", _loaded)

if __name__ == "__main__":
    sys.exit(main(RUNTIME, str(__doc__), Path(__file__).parent))
