"""Checks a language model on the Mac that it was delivered to: it must continue prompts as the original did.

    python selfcheck.py               with this script's own loop over the package, through Core ML

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
# Why our own loop always runs.
NO_RUNTIME = "Core ML runs programs, and leaves picking tokens to the caller"


class Program(Protocol):
    """A loaded stateful package."""

    def start(self) -> None:
        """Sets all states to zeros."""

    def __call__(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Outputs by name; the states keep their values for the next call."""


class Loop:
    """Generates with a package that has its cache in states, one text at a time.

    Args:
        program: The package.
        decoder: The facts about the decoder; see interface/generation.py.
        sizes: How many tokens a call may have: all possible numbers.
        says: The runtime, for people.
    """

    by_ours = NO_RUNTIME
    computes_in = "float32"
    properties: Mapping[str, str] = {}

    def __init__(self, program: Program, decoder: Mapping[str, Any], sizes: Sequence[int], says: str) -> None:
        self._program, self._decoder, self._sizes, self.says = program, decoder, sorted(sizes), f"our own loop, {says}"
        self._position = 0
        self.steps: list[Array] = []  # the logits of the last text, [vocabulary] for each token

    def __call__(self, prompts: Rows, new: int) -> list[list[int]]:
        """See `stages.generation.folders.Generator`. Rows run one after another: a package takes one text."""
        ends, fills = self._decoder["eos"], filling(self._decoder)
        return [greedy(self, [prompt], new, ends, fills)[0] for prompt in prompts]

    def unfit(self, prompts: Rows, new: int) -> str:
        """See `stages.generation.folders.Generator`."""
        return ""

    def tokenized(self, texts: Sequence[Text]) -> list[list[int]] | None:
        """See `stages.generation.folders.Generator`. Core ML has no tokenizer."""
        return None

    def start(self, rows: int) -> None:
        """See `stages.portable.generating.Decoder`."""
        self._program.start()
        self._position, self.steps = 0, []

    def logits(self, ids: Array, mask: Array, positions: Array) -> Array:
        """See `stages.portable.generating.Decoder`. One row, in as few calls as possible. Raises Stop if too long."""
        np = module("numpy")
        at, total, parts = 0, ids.shape[1], []
        if self._position + total > self._decoder["positions"]:
            raise Stop(CANNOT_RUN, f"the cache has room for {self._decoder['positions']} tokens")
        while at < total:
            size = next((n for n in reversed(self._sizes) if n <= total - at), 0)
            if not size:
                raise Stop(CANNOT_RUN, f"{total - at} tokens are left, and a call has {self._sizes[0]} at least")
            feeds = {IDS: ids[:, at : at + size], POSITION: np.array([self._position])}
            returned = self._program({name: value.astype(np.int32) for name, value in feeds.items()})
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
        (port,) = (p for p in self._model.get_spec().description.input if p.name == IDS)
        array = port.type.multiArrayType
        if array.shapeRange.sizeRanges:
            span = array.shapeRange.sizeRanges[1]
            return list(range(span.lowerBound, span.upperBound + 1))
        return [s.shape[1] for s in array.enumeratedShapes.shapes] or [array.shape[1]]

    def start(self) -> None:
        """See `Program`."""
        self._state = self._model.make_state()

    def __call__(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """See `Program`."""
        outputs: Mapping[str, Array] = self._model.predict(dict(inputs), state=self._state)
        return outputs


def _loaded(folder: Path, decoder: Mapping[str, Any], claim: Mapping[str, Any], arguments: argparse.Namespace) -> Loop:
    program = ByCoreml(folder / FILE)
    return Loop(program, decoder, program.sizes, program.says)


RUNTIME = Runtime("coremltools", "coreml_generation", _loaded)

if __name__ == "__main__":
    sys.exit(main(RUNTIME, str(__doc__), Path(__file__).parent))
