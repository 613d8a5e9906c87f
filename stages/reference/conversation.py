"""Questions for a model with a cache: the cache comes from the model itself.

The cache of a question is the model's own output for a prompt: random numbers would be unlike any cache. Such a graph
relies on two properties, which are checked here: a text in two calls gives the same answer as in one, and a padded row
the same as the row alone.
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
# The largest difference between the answers in one call and in two, as a share of the largest: sums are ordered
# differently.
SAME = {"float32": 1e-4, "float64": 1e-4}
SAME_OF_FEWER_BITS = 5e-2
ALLOWED = "a model that answers a text in two calls as in one, and a padded row as the row alone"


class Conversation:
    """A model that continues from the cache of an earlier call.

    Args:
        interface: The inputs with their fills, and the outputs.
        answers: Runs the model.
        seed: For prompts.
        how: For fills that are photographs.

    Raises:
        ConfigError: When a cache names an output that does not exist.
    """

    def __init__(self, interface: Interface, answers: Answers, seed: int, how: Preprocessing | None) -> None:
        self._interface, self._answers, self._seed, self._how = interface, answers, seed, how
        self._caches = {n: str(s.fill["cache"]) for n, s in interface.inputs.items() if is_cache(s)}
        if unknown := [n for n, output in self._caches.items() if output not in interface.outputs]:
            output = self._caches[unknown[0]]
            raise ConfigError(
                f"inputs.{unknown[0]}.fill is {{cache: {output}}}, which is no output"
                f"{nearest(output, interface.outputs)}",
                allowed=listed(interface.outputs),
            )
        # A mask over past and present tokens gives the length of the prompt.
        masks = [n for n, s in interface.inputs.items() if fills.is_left(s) and len(parts(str(s.shape[-1]))) == 2]
        self._mask = masks[0] if masks else ""
        self._before, self._now = parts(interface.inputs[self._mask].shape[-1]) if masks else ("", "")

    def continued(self, questions: Sequence[Question]) -> list[Question]:
        """The questions of sizes, with the model's own cache of a prompt, or an empty one where there is no prompt."""
        return [replace(q, inputs=self._within(q)) if q.family == SIZES and q.sizes else q for q in questions]

    def demand(self, questions: Sequence[Question]) -> None:
        """Runs one text in two calls and in one, and a padded row by itself.

        Raises:
            CheckFailed: When the answers differ.
        """
        texts = [q for q in questions if q.family == SIZES and self._length(q) > 0]
        if not texts:
            return
        padded = [q for q in texts if not q.inputs[self._mask].all()]
        for question in dict.fromkeys(map(id, [texts[0], *padded[:1]])):
            self._verify(next(q for q in texts if id(q) == question))

    def _length(self, question: Question) -> int:
        return (question.sizes or {}).get(self._before, 0)

    def _within(self, question: Question) -> Arrays:
        """A question's inputs in the middle of a conversation, or at its beginning."""
        sizes = question.sizes or {}
        inputs = dict(question.inputs) | self._nothing(sizes)
        prompt = self._prompt(question)
        if prompt is None:
            return inputs
        outputs = self._answers(prompt)
        return inputs | {name: outputs[output] for name, output in self._caches.items()}

    def _prompt(self, question: Question) -> dict[str, Array] | None:
        """The prompt before a question; None where there is none, or no dimension gives its length."""
        if not self._length(question):
            return None
        sizes = {**(question.sizes or {}), self._before: 0, self._now: self._length(question)}
        drawn = fills.draw(self._interface.inputs, sizes, self._seed + 1, self._how) | self._nothing(sizes)
        drawn[self._mask] = question.inputs[self._mask][:, : sizes[self._now]].copy()
        return fills.placed(self._interface.inputs, drawn)

    def _nothing(self, sizes: Mapping[str, int]) -> dict[str, Array]:
        """The cache at the beginning: no tokens, and states of zeros."""
        import numpy as np

        if not self._before:
            return {}  # no dimension is known to be a length
        own = {n: self._interface.inputs[n] for n in self._caches}
        return {n: np.zeros(s.at({**sizes, self._before: 0}), s.dtype) for n, s in own.items()}

    def _verify(self, question: Question) -> None:
        prompt = self._prompt(question)
        assert prompt is not None
        whole = self._joined(prompt, question.inputs)
        once, twice = self._answers(whole), self._answers(question.inputs)
        places = padding.followed(self._interface.inputs, self._interface.outputs)
        counts = padding.valid(question.inputs, twice, places)
        for name, (_, axis) in places.items():
            tail = _last(once[name], axis, twice[name].shape[axis])
            self._compare(name, question, tail, twice[name], counts[name], "in one call", "in two calls")
        mask = whole[self._mask]
        pads = [int((row == 0).sum()) for row in mask]
        for row, pad in enumerate(pads):
            if pad and self._interface.dims.get(str(self._interface.inputs[self._mask].shape[0])):
                self._verify_row(question, whole, once, places, row, pad)
                return

    def _verify_row(
        self, question: Question, whole: Arrays, once: Arrays, places: Mapping[str, Any], row: int, pad: int
    ) -> None:
        import numpy as np

        single = {}
        for name, values in whole.items():
            axes = [a for a, d in enumerate(self._interface.inputs[name].shape) if d in (self._now, self._size)]
            own = values[row : row + 1]
            cut = axes and name not in self._caches
            single[name] = np.ascontiguousarray(_last(own, axes[0], own.shape[axes[0]] - pad) if cut else own)
        alone = self._answers(fills.placed(self._interface.inputs, single))
        for name, (_, axis) in places.items():
            expected = alone[name]
            actual = _last(once[name][row : row + 1], axis, expected.shape[axis])
            every = np.ones([1] * expected.ndim, bool)
            self._compare(name, question, expected, actual, every, "by itself", f"as row {row}, padded by {pad}")

    @property
    def _size(self) -> str:
        return str(self._interface.inputs[self._mask].shape[-1])

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

        return fills.placed(self._interface.inputs, {n: joined(n, s) for n, s in self._interface.inputs.items()})

    def _compare(
        self, name: str, question: Question, expected: Array, actual: Array, counts: Array, one: str, other: str
    ) -> None:
        import numpy as np

        if expected.dtype.kind != "f":
            return
        size = float(np.abs(np.where(counts, expected, 0)).max(initial=0))
        error = float(np.abs(np.where(counts, expected.astype("f8") - actual, 0)).max(initial=0))
        most = SAME.get(str(expected.dtype), SAME_OF_FEWER_BITS)
        if not error <= most * size:
            raise CheckFailed(
                f"the model answers a text differently {other} than {one}: at {question.label}, '{name}' is "
                f"{error / (size or 1):.1e} of its largest off: its cache, its positions or its mask are not what its "
                "inputs say",
                allowed=f"{ALLOWED}, to {most:g}",
                command="the model's code: what its forward makes of the cache, the positions and the mask",
            )


def _last(values: Array, axis: int, count: int) -> Array:
    return values[(slice(None),) * axis + (slice(values.shape[axis] - count, None),)]
