"""Which operations of a graph keep float32 because a small constant guards a denominator or a logarithm there.

`y / (y.norm() + 1e-8)` is right in float16 for no small y: 1e-8 is 0 there, and so is the square of 1e-4. PyTorch's
autocast computes norms, sums of squares, reciprocals and logarithms in float32 for this reason, and OpenVINO keeps
divisions by `x + eps` and `max(x, eps)` in it.

Source: https://docs.pytorch.org/docs/stable/amp.html#cuda-ops-that-can-autocast-to-float32;
MarkDivWithEps in OpenVINO's mark_subgraphs_to_keep_in_mixed_precision.cpp.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

FACT = "denominators"  # the names of operations with weights that keep float32 for this reason
SMALLEST = 2.0**-14  # the smallest normal number of float16

# By ONNX's names, then MIL's.
ADDS = {"Add", "Sub", "Sum", "add", "sub"}
GUARDS = {*ADDS, "Max", "Clip", "Where", "maximum", "clip", "select"}
REDUCES = {f"Reduce{how}" for how in ("Sum", "SumSquare", "Mean", "L1", "L2", "Max", "Min")} | {"GlobalAveragePool"}
REDUCES |= {f"reduce_{how}" for how in ("sum", "sum_square", "mean", "l1_norm", "l2_norm", "max", "min")}
DIVIDES = {"Div", "real_div"}
MULTIPLIES = {"Mul", "mul"}
INVERTS = {"Reciprocal", "inverse", "rsqrt"}
ROOTS = {"Sqrt", "Pow", "Abs", "sqrt", "pow", "square", "abs"}
LOGS = {"Log", "log"}
MOVES = {"Reshape", "Expand", "Unsqueeze", "Squeeze", "Transpose", "Identity", "Tile"}
MOVES |= {"reshape", "expand_dims", "squeeze", "transpose", "identity", "tile"}


@dataclass(frozen=True)
class Step:
    """An operation.

    Args:
        name: No other has it.
        type: The type, by the format's own name.
        inputs: The names of its input values, in order; None for a constant.
        outputs: The names of its output values.
        constants: Its constant inputs that are a single number.
    """

    name: str
    type: str
    inputs: Sequence[str | None]
    outputs: Sequence[str]
    constants: Sequence[float] = ()


class Graph:
    """A graph's operations.

    Args:
        steps: The steps, in an order in which they can run.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = steps
        self._source = {value: step for step in steps for value in step.outputs}
        self._users: dict[str, list[Step]] = {}
        for step in steps:
            for value in {v for v in step.inputs if v is not None}:
                self._users.setdefault(value, []).append(step)

    @property
    def in_float32(self) -> list[str]:
        """The names of the operations that keep float32: those that measure, guard and divide, in the graph's order."""
        wide: set[str] = set()
        for step in self.steps:
            guards = step.type in GUARDS and any(0 < abs(c) < SMALLEST for c in step.constants)
            if guards and (after := self._after(step)):
                wide |= {step.name, *after, *self._before(step)}
        return [step.name for step in self.steps if step.name in wide]

    def _after(self, step: Step) -> set[str]:
        """The operations from the guard to the division by its result; none where nothing divides by it."""
        names: set[str] = set()
        for value, user in self._uses(step):
            negative = user.type in ROOTS and any(c < 0 for c in user.constants)
            if user.type in INVERTS or negative or (user.type in DIVIDES and user.inputs == [None, value]):
                names |= {user.name} | self._products(user)
            elif user.type in LOGS or (user.type in DIVIDES and value in user.inputs[1:]):
                names.add(user.name)
            elif user.type in MOVES | ROOTS or (user.type in MULTIPLIES | DIVIDES and None in user.inputs):
                after = self._after(user)
                names |= {user.name, *after} if after else set()
        return names

    def _products(self, step: Step) -> set[str]:
        """The operations that multiply by a reciprocal, which may be larger than float16 can hold."""
        names: set[str] = set()
        for _, user in self._uses(step):
            if user.type in MULTIPLIES:
                names.add(user.name)
            elif user.type in MOVES:
                names |= {user.name} | self._products(user)
        return names

    def _before(self, guard: Step) -> set[str]:
        """The operations that measure the guarded value: mostly the root of a sum of squares."""
        names: set[str] = set()
        ahead = [(value, False) for value in guard.inputs]
        while ahead:
            value, reduced = ahead.pop()
            step = self._source.get(value) if value is not None else None
            if step is None or step.name in names:
                continue
            if step.type in ADDS and reduced:
                means = [s.name for v in step.inputs if v is not None and (s := self._source.get(v)) and _reduces(s)]
                names |= {step.name, *means} if means else set()  # a deviation from the mean
            elif _reduces(step) or step.type in ROOTS | MOVES | MULTIPLIES | ADDS | DIVIDES:
                names.add(step.name)
                ahead += [(v, reduced or _reduces(step)) for v in step.inputs]
        return names

    def _uses(self, step: Step) -> Iterator[tuple[str, Step]]:
        return ((value, user) for value in step.outputs for user in self._users.get(value, []))


def _reduces(step: Step) -> bool:
    return step.type in REDUCES
