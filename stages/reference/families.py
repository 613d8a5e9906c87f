"""Families of values that a model is asked with: zeros, ties, ends of ranges, masked rows, where converters break.

Each has something for every role that an input may have. They are asked at the smallest sizes, where they cost next to
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.interface import fills
from stages.interface.images import Preprocessing
from stages.interface.interface import Input, Interface, is_cache
from stages.reference import sizes as asked_sizes

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

# How far from what the YAML draws: each level takes in those before it. Which a check asks, its tolerance says.
SIZES, DRAWS, VALUES, EXTREMES = LEVELS = ("sizes", "draws", "values", "extremes")
LITTLE = 2**13  # elements of all inputs up to which rows that differ cost next to nothing
FEW = 4  # rows, and places in each, that can differ
TINY, WIDE, LARGE, HUGE = 1e-7, 3, 1e2, 1e4


@dataclass(frozen=True)
class Family:
    """What becomes of inputs by their role.

    Args:
        name: What a case of it is called.
        floats: Of an input that is drawn in floating-point numbers; one of FLOATS.
        integers: Of one that is drawn from a range of whole numbers; one of INTEGERS.
        masks: Of a mask; one of MASKS.
        seed: Added to the seed of the draws.
        thorough: Whether it takes that effort.
        long: Whether it is asked with every dimension but the batch at its largest: among few numbers none is far out.
    """

    name: str
    floats: str
    integers: str
    masks: str
    seed: int = 0
    thorough: bool = False
    long: bool = False

    def concerns(self, roles: Set[str]) -> bool:
        """Whether an input has one of the roles that it changes, or it is a draw like the YAML's."""
        changed = {role for role in ("floats", "integers", "masks") if getattr(self, role) != "drawn"}
        return not changed or bool(changed & roles)


# Numbers in the order of what they found among planted faults: of large inputs the first few alone are asked.
FAMILIES = (
    Family("draw 2", "drawn", "drawn", "drawn", 1),
    Family("lowest", "drawn", "lowest", "first"),
    Family("highest", "drawn", "highest", "holes"),
    Family("ends", "drawn", "ends", "left"),
    Family("masked row", "drawn", "running", "row off"),
    Family("negative", "negative", "drawn", "all", 4),
    Family("huge", "huge", "running", "all"),
    Family("rows of zeros", "rows of zeros", "drawn", "drawn"),
    Family("zeros", "zeros", "lowest", "first"),
    Family("large", "large", "ends", "left"),
    Family("ties", "ties", "ends", "all"),
    Family("tiny", "tiny", "alike", "all"),
    Family("outliers", "outliers", "drawn", "drawn", 5, long=True),
    Family("wide", "wide", "drawn", "drawn", 6),
    Family("ones", "ones", "highest", "holes"),
    Family("draw 3", "drawn", "drawn", "drawn", 2, thorough=True),
    Family("draw 4", "drawn", "drawn", "drawn", 3, thorough=True),
)


def _spaced(drawn: Array, rng: np.random.Generator, scale: float) -> Array:
    import numpy as np

    return np.asarray(scale * rng.standard_normal(drawn.shape))


def _rows_of_zeros(drawn: Array, rng: np.random.Generator) -> Array:
    """The later half of the last dimension but one: frames of silence, padding, the lower half of a picture."""
    found = drawn.copy()
    if drawn.ndim > 1:
        found[..., drawn.shape[-2] // 2 :, :] = 0
    return found


def _outliers(drawn: Array, rng: np.random.Generator) -> Array:
    """One number of each row far from the others: a burst in a signal, a defect pixel."""
    found = drawn.copy()
    if drawn.ndim:
        rows = found.reshape(len(found), -1)
        rows[range(len(rows)), rng.integers(rows.shape[1], size=len(rows))] = LARGE
    return found


FLOATS: Mapping[str, Callable[[Any, Any], Any]] = {
    "negative": lambda drawn, rng: -abs(drawn),
    "zeros": lambda drawn, rng: 0 * drawn,
    "ones": lambda drawn, rng: 0 * drawn + 1,
    "tiny": lambda drawn, rng: _spaced(drawn, rng, TINY),
    "outliers": _outliers,
    "wide": lambda drawn, rng: _spaced(drawn, rng, WIDE * float(drawn.std())),
    "large": lambda drawn, rng: _spaced(drawn, rng, LARGE),
    "huge": lambda drawn, rng: _spaced(drawn, rng, HUGE),
    "ties": lambda drawn, rng: (2 * rng.standard_normal(drawn.shape)).round() / 2,
    "rows of zeros": _rows_of_zeros,
}
FLAT = ("zeros", "ones")  # the names of those whose numbers are all one
ORDINARY = ("drawn", "negative")  # of floats: what a type of fewer bits is as good at as at the draws
# Of a number's place, and how many numbers the range has: which of them.
INTEGERS: Mapping[str, Callable[[Any, int], Any]] = {
    "lowest": lambda place, count: 0 * place,
    "highest": lambda place, count: 0 * place + count - 1,
    "ends": lambda place, count: (place % 2) * (count - 1),
    "running": lambda place, count: place % count,
    "alike": lambda place, count: 0 * place + count // 2,
}
# Of a place in its row, how long the row is, and which row it is.
MASKS: Mapping[str, Callable[[Any, int, Any], Any]] = {
    "all": lambda place, length, row: place >= 0,
    "first": lambda place, length, row: place < 1,
    "holes": lambda place, length, row: place % 2 == row % 2,
    "left": lambda place, length, row: place >= (length // 2) * (row % 2 == 0),
    "row off": lambda place, length, row: (row != min(1, row.max())) & (place >= 0),
}


def asked(
    known: Interface, seed: int, how: Preprocessing | None, effort: str
) -> Iterator[tuple[str, str, dict[str, int], dict[str, Array]]]:
    """The name of each family that this interface has an input for, its level, sizes and inputs; none of them twice."""
    if effort == "quick":
        return
    roles = {name: role(spec) for name, spec in known.inputs.items()}
    seen = [fills.draw(known.inputs, small(known), seed, how)]
    for family in FAMILIES:
        if (family.thorough and effort != "thorough") or not family.concerns(set(roles.values())):
            continue
        sizes = long(known) if family.long else small(known)
        inputs = fills.draw(known.inputs, sizes, seed + family.seed, how)
        for name, spec in known.inputs.items():
            inputs[name] = _of_family(family, name, spec, inputs[name], seed)
        inputs = fills.placed(known.inputs, inputs)
        if not any(_same(inputs, other) for other in seen):
            seen.append(inputs)
            yield family.name, _level(family, set(roles.values())), sizes, inputs


def small(known: Interface) -> dict[str, int]:
    """The sizes that families are asked at: rows that can differ where that is little, otherwise the smallest."""
    import numpy as np

    sizes = asked_sizes.few(known.dims, FEW)
    elements = sum(int(np.prod(spec.at(sizes))) for spec in known.inputs.values() if None not in spec.shape)
    return sizes if elements <= LITTLE else {name: d.min for name, d in known.dims.items()}


def long(known: Interface) -> dict[str, int]:
    """Every dimension at its largest but the one that inputs begin with, which is the batch as a rule."""
    first = {spec.shape[0] for spec in known.inputs.values() if spec.shape}
    return {name: d.min if name in first else d.max for name, d in known.dims.items()}


def role(spec: Input) -> str:
    """What an input stands for: masks, integers, floats, or "as drawn" for what the YAML sets to one value."""
    if spec.fill == "mask" or fills.is_left(spec):
        return "masks"
    if is_cache(spec):
        return "as drawn"
    if isinstance(spec.fill, Mapping) and "integers" in spec.fill:
        return "integers"
    return "floats" if spec.dtype.startswith("float") and spec.fill not in ("ones", "zeros") else "as drawn"


def _of_family(family: Family, name: str, spec: Input, drawn: Array, seed: int) -> Array:
    import numpy as np

    kind = role(spec)
    if kind == "as drawn" or getattr(family, kind) == "drawn":
        return drawn
    place = np.arange(drawn.size).reshape(drawn.shape)
    values: Any
    if kind == "floats":
        values = FLOATS[family.floats](drawn.astype("f8"), np.random.default_rng([seed, *name.encode()]))
    elif kind == "integers":
        low, high = spec.fill["integers"]
        values = low + INTEGERS[family.integers](place, high - low)
    else:
        length = drawn.shape[-1]
        values = MASKS[family.masks](place % length, length, place // length)
    return np.asarray(values).astype(drawn.dtype).reshape(drawn.shape)


def _level(family: Family, roles: set[str]) -> str:
    if all(getattr(family, r, "drawn") == "drawn" for r in roles):
        return DRAWS
    return VALUES if "floats" not in roles or family.floats in ORDINARY else EXTREMES


def _same(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    return all(one[n].tobytes() == other[n].tobytes() for n in one)
