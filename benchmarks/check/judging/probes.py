"""The varied inputs that decide whether a fault is one: at many sizes, values of every sort by the role of an input.

They are drawn here and owe nothing to the questions of the check, which they are there to judge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.check.models.subjects import Subject

Array = Any
Draw = Callable[[np.random.Generator, tuple[int, ...], Any], Array]
LEAST = 200  # usable ones for a verdict of equivalence
MOST = 900  # are tried to get there


@dataclass(frozen=True)
class Probe:
    """Inputs by name, and in words what they are."""

    says: str
    inputs: Mapping[str, Array]


def _rows_of_zeros(rng: np.random.Generator, shape: tuple[int, ...], fill: Any) -> Array:
    values = _usual(rng, shape, fill)
    axis = -2 if len(shape) > 2 else 0
    place = [slice(None)] * len(shape)
    place[axis] = slice(shape[axis] // 2, None)
    values[tuple(place)] = 0
    return values


def _usual(rng: np.random.Generator, shape: tuple[int, ...], fill: Any) -> Array:
    return rng.random(shape) if fill == "uniform" else rng.standard_normal(shape)


def _one_large(rng: np.random.Generator, shape: tuple[int, ...], fill: Any) -> Array:
    values = _usual(rng, shape, fill)
    values.reshape(-1)[int(rng.integers(values.size))] = 50
    return values


FLOATS: dict[str, Draw] = {
    "drawn": _usual,
    "normal": lambda rng, shape, fill: rng.standard_normal(shape),
    "uniform": lambda rng, shape, fill: rng.random(shape),
    "x4": lambda rng, shape, fill: 4 * rng.standard_normal(shape),
    "x30": lambda rng, shape, fill: 30 * rng.standard_normal(shape),
    "x300": lambda rng, shape, fill: 300 * rng.standard_normal(shape),
    "x10000": lambda rng, shape, fill: 1e4 * rng.standard_normal(shape),
    "x0.01": lambda rng, shape, fill: 0.01 * rng.standard_normal(shape),
    "x1e-5": lambda rng, shape, fill: 1e-5 * rng.standard_normal(shape),
    "x1e-9": lambda rng, shape, fill: 1e-9 * rng.standard_normal(shape),
    "zeros": lambda rng, shape, fill: np.zeros(shape),
    "ones": lambda rng, shape, fill: np.ones(shape),
    "one constant": lambda rng, shape, fill: np.full(shape, rng.choice([-2.0, -0.5, 0.25, 0.5, 3.0])),
    "negative": lambda rng, shape, fill: -np.abs(rng.standard_normal(shape)),
    "0 to 255": lambda rng, shape, fill: rng.integers(0, 256, shape),
    "ties": lambda rng, shape, fill: (2 * rng.standard_normal(shape)).round() / 2,
    "signs": lambda rng, shape, fill: rng.choice([-1.0, 1.0], shape),
    "sparse": lambda rng, shape, fill: rng.standard_normal(shape) * (rng.random(shape) < 0.1),
    "ramp": lambda rng, shape, fill: np.linspace(-3, 3, int(np.prod(shape))).reshape(shape),
    "rows of zeros": _rows_of_zeros,
    "one large": _one_large,
    "beside 5": lambda rng, shape, fill: 5 + rng.standard_normal(shape),
}


def _whole(which: Callable[[np.random.Generator, Array, int], Array]) -> Draw:
    def draw(rng: np.random.Generator, shape: tuple[int, ...], fill: Any) -> Array:
        low, high = fill["integers"]
        return low + which(rng, np.arange(int(np.prod(shape))).reshape(shape), high - low)

    return draw


INTEGERS: dict[str, Draw] = {
    "drawn": _whole(lambda rng, place, count: rng.integers(0, count, place.shape)),
    "lowest": _whole(lambda rng, place, count: 0 * place),
    "highest": _whole(lambda rng, place, count: 0 * place + count - 1),
    "ends": _whole(lambda rng, place, count: rng.integers(0, 2, place.shape) * (count - 1)),
    "running": _whole(lambda rng, place, count: (place + int(rng.integers(count))) % count),
    "alike": _whole(lambda rng, place, count: 0 * place + int(rng.integers(count))),
    "few": _whole(lambda rng, place, count: rng.integers(0, min(3, count), place.shape)),
    "padded": _whole(lambda rng, place, count: rng.integers(0, count, place.shape) * (rng.random(place.shape) < 0.5)),
}


def _mask(which: Callable[[np.random.Generator, Array, Array, int], Array]) -> Draw:
    def draw(rng: np.random.Generator, shape: tuple[int, ...], fill: Any) -> Array:
        places = np.arange(int(np.prod(shape))).reshape(shape)
        return which(rng, places % shape[-1], places // shape[-1], shape[-1])

    return draw


MASKS: dict[str, Draw] = {
    "padded right": _mask(lambda rng, place, row, length: place < rng.integers(1, length + 1, (len(row), 1))),
    "all": _mask(lambda rng, place, row, length: place >= 0),
    "first alone": _mask(lambda rng, place, row, length: place == 0),
    "last alone": _mask(lambda rng, place, row, length: place == length - 1),
    "padded left": _mask(lambda rng, place, row, length: place >= rng.integers(0, length, (len(row), 1))),
    "holes": _mask(lambda rng, place, row, length: (rng.random(place.shape) < 0.5) | (place == 0)),
    "a row off": _mask(lambda rng, place, row, length: (row != int(rng.integers(len(row)))) & (place >= 0)),
}


def probes(subject: Subject) -> Iterator[Probe]:
    """Every family at a small size, every size that may matter with what is drawn, then both at random."""
    rng = np.random.default_rng([7, *subject.name.encode()])
    small = {n: min(d[0] + 1, d[2]) for n, d in subject.dims.items()}
    longest = max(len(FLOATS), len(INTEGERS), len(MASKS))
    for number in range(longest):
        yield _probe(subject, small, rng, number)
    for sizes in _sizes(subject):
        yield _probe(subject, sizes, rng, 0)
    while True:
        yield _probe(subject, {n: _size(rng, d) for n, d in subject.dims.items()}, rng, None)


def _sizes(subject: Subject) -> Iterator[dict[str, int]]:
    ends = {n: {"min": d[0], "example": d[1], "max": d[2]} for n, d in subject.dims.items()}
    for which in ("example", "min", "max"):
        yield {n: e[which] for n, e in ends.items()}
    for name in subject.dims:
        for one, others in (("max", "min"), ("min", "max")):
            yield {n: e[one if n == name else others] for n, e in ends.items()}


def _size(rng: np.random.Generator, dim: tuple[int, int, int]) -> int:
    least, usual, largest = dim
    return int(
        rng.choice([least, usual, largest, largest - 1, *(int(rng.integers(least, largest + 1)) for _ in "1234")])
    )


def _probe(subject: Subject, sizes: Mapping[str, int], rng: np.random.Generator, number: int | None) -> Probe:
    """One of the families for each input: of that number, or any."""
    inputs, roles = {}, []
    for name, spec in subject.inputs.items():
        fill = spec["fill"]
        families = MASKS if fill == "mask" else INTEGERS if isinstance(fill, Mapping) else FLOATS
        family = list(families)[(int(rng.integers(len(families))) if number is None else number) % len(families)]
        shape = tuple(sizes[d] if isinstance(d, str) else d for d in spec["shape"])
        inputs[name] = np.ascontiguousarray(families[family](rng, shape, fill)).astype(spec["dtype"]).reshape(shape)
        roles.append(f"{name} {'x'.join(map(str, shape))} {family}")
    return Probe(", ".join(roles), inputs)
