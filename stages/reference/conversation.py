"""Questions for a model with a cache: what was said before is what it answered itself.

The cache of a question is the model's own, of a prompt that it is asked before: no draw has its numbers. And whoever
makes such a graph relies on two things, which are asked for at once: a text in two calls is answered as in one, and a
padded row as the row alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.errors import CheckFailed, ConfigError, listed, nearest
from stages.interface import fills
from stages.interface.images import Preprocessing
from stages.interface.interface import Input, Interface, is_cache, parts
from stages.reference import padding
from stages.reference.families import SIZES
from stages.reference.questions import Question

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]
    Arrays = Mapping[str, Array]

Answers = Callable[["Arrays"], "Arrays"]  # inputs to outputs, by name
# How far an answer in one call may be from that in two, as a share of the largest: sums go another way.
SAME = {"float32": 1e-4, "float64": 1e-4}
SAME_OF_FEWER_BITS = 5e-2
ALLOWED = "a model that answers a text in two calls as in one, and a padded row as the row alone"


class Conversation:
    """A model that is asked with what was said before.

    Args:
        known: The inputs with their fills, and the outputs.
        answers: Asks the model.
        seed: For prompts.
        how: For fills that are photographs.

    Raises:
        ConfigError: When a cache names an output that there is not.
    """

    def __init__(self, known: Interface, answers: Answers, seed: int, how: Preprocessing | None) -> None:
        self._known, self._answers, self._seed, self._how = known, answers, seed, how
        self._caches = {n: str(s.fill["cache"]) for n, s in known.inputs.items() if is_cache(s)}
        if unknown := [n for n, output in self._caches.items() if output not in known.outputs]:
            output = self._caches[unknown[0]]
            raise ConfigError(
                f"inputs.{unknown[0]}.fill is {{cache: {output}}}, which is no output{nearest(output, known.outputs)}",
                allowed=listed(known.outputs),
            )
        # A mask of what was before and is now says how long a prompt was.
        masks = [n for n, s in known.inputs.items() if fills.is_left(s) and len(parts(str(s.shape[-1]))) == 2]
        self._mask = masks[0] if masks else ""
        self._before, self._now = parts(known.inputs[self._mask].shape[-1]) if masks else ("", "")

    def continued(self, asked: Sequence[Question]) -> list[Question]:
        """The questions of sizes with the model's own cache of a prompt; an empty one where there was none."""
        return [replace(q, inputs=self._within(q)) if q.family == SIZES and q.sizes else q for q in asked]

    def demand(self, asked: Sequence[Question]) -> None:
        """Asks one text in two calls and in one, and a padded row by itself.

        Raises:
            CheckFailed: When the answers are others.
        """
        texts = [q for q in asked if q.family == SIZES and self._length(q) > 0]
        if not texts:
            return
        padded = [q for q in texts if not q.inputs[self._mask].all()]
        for question in dict.fromkeys(map(id, [texts[0], *padded[:1]])):
            self._hold(next(q for q in texts if id(q) == question))

    def _length(self, question: Question) -> int:
        return (question.sizes or {}).get(self._before, 0)

    def _within(self, question: Question) -> Arrays:
        """A question's inputs, mid in a conversation or at its beginning."""
        sizes = question.sizes or {}
        inputs = dict(question.inputs) | self._nothing(sizes)
        prompt = self._prompt(question)
        if prompt is None:
            return inputs
        made = self._answers(prompt)
        return inputs | {name: made[output] for name, output in self._caches.items()}

    def _prompt(self, question: Question) -> dict[str, Array] | None:
        """What was said before a question; None where that is nothing, or nothing says how long it was."""
        if not self._length(question):
            return None
        sizes = {**(question.sizes or {}), self._before: 0, self._now: self._length(question)}
        drawn = fills.draw(self._known.inputs, sizes, self._seed + 1, self._how) | self._nothing(sizes)
        drawn[self._mask] = question.inputs[self._mask][:, : sizes[self._now]].copy()
        return fills.placed(self._known.inputs, drawn)

    def _nothing(self, sizes: Mapping[str, int]) -> dict[str, Array]:
        """The cache before anything was said: without tokens, and states of zeros."""
        import numpy as np

        if not self._before:
            return {}  # nothing says what of it is a length
        own = {n: self._known.inputs[n] for n in self._caches}
        return {n: np.zeros(s.at({**sizes, self._before: 0}), s.dtype) for n, s in own.items()}

    def _hold(self, question: Question) -> None:
        prompt = self._prompt(question)
        assert prompt is not None
        whole = self._joined(prompt, question.inputs)
        once, twice = self._answers(whole), self._answers(question.inputs)
        places = padding.followed(self._known.inputs, self._known.outputs)
        counts = padding.valid(question.inputs, twice, places)
        for name, (_, axis) in places.items():
            tail = _last(once[name], axis, twice[name].shape[axis])
            self._compare(name, question, tail, twice[name], counts[name], "in one call", "in two calls")
        mask = whole[self._mask]
        pads = [int((row == 0).sum()) for row in mask]
        for row, pad in enumerate(pads):
            if pad and self._known.dims.get(str(self._known.inputs[self._mask].shape[0])):
                self._hold_row(question, whole, once, places, row, pad)
                return

    def _hold_row(
        self, question: Question, whole: Arrays, once: Arrays, places: Mapping[str, Any], row: int, pad: int
    ) -> None:
        import numpy as np

        single = {}
        for name, values in whole.items():
            axes = [a for a, d in enumerate(self._known.inputs[name].shape) if d in (self._now, self._size)]
            own = values[row : row + 1]
            cut = axes and name not in self._caches
            single[name] = np.ascontiguousarray(_last(own, axes[0], own.shape[axes[0]] - pad) if cut else own)
        alone = self._answers(fills.placed(self._known.inputs, single))
        for name, (_, axis) in places.items():
            wanted = alone[name]
            found = _last(once[name][row : row + 1], axis, wanted.shape[axis])
            every = np.ones([1] * wanted.ndim, bool)
            self._compare(name, question, wanted, found, every, "by itself", f"as row {row}, padded by {pad}")

    @property
    def _size(self) -> str:
        return str(self._known.inputs[self._mask].shape[-1])

    def _joined(self, prompt: Arrays, inputs: Arrays) -> dict[str, Array]:
        """Prompt and question as one text."""
        import numpy as np

        def joined(name: str, spec: Input) -> Array:
            axes = [axis for axis, d in enumerate(spec.shape) if d == self._now]
            if name in self._caches:
                return prompt[name]
            if name == self._mask or not axes:
                return inputs[name]
            return np.concatenate([prompt[name], inputs[name]], axes[0])

        return fills.placed(self._known.inputs, {n: joined(n, s) for n, s in self._known.inputs.items()})

    def _compare(
        self, name: str, question: Question, wanted: Array, found: Array, counts: Array, one: str, other: str
    ) -> None:
        import numpy as np

        if wanted.dtype.kind != "f":
            return
        size = float(np.abs(np.where(counts, wanted, 0)).max(initial=0))
        error = float(np.abs(np.where(counts, wanted.astype("f8") - found, 0)).max(initial=0))
        most = SAME.get(str(wanted.dtype), SAME_OF_FEWER_BITS)
        if not error <= most * size:
            raise CheckFailed(
                f"the model answers a text otherwise {other} than {one}: at {question.label}, '{name}' is "
                f"{error / (size or 1):.1e} of its largest off: its cache, its positions or its mask are not what its "
                "inputs say",
                allowed=f"{ALLOWED}, to {most:g}",
                command="the model's code: what its forward makes of the cache, the positions and the mask",
            )


def _last(values: Array, axis: int, count: int) -> Array:
    return values[(slice(None),) * axis + (slice(values.shape[axis] - count, None),)]
