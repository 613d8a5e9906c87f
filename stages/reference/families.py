"""Families of input values at which converters break: zeros, ties, ends of ranges, masked rows.

Each family has values for every role that an input may have. They run at the smallest sizes, where they cost next to
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

# How far from what the YAML draws: each level includes those before it. A check's tolerance names the level it asks.
SIZES, DRAWS, VALUES, EXTREMES = LEVELS = ("sizes", "draws", "values", "extremes")
LITTLE = 2**13  # elements of all inputs up to which several rows cost next to nothing
FEW = 4  # rows, and places in each row, so that they can differ
TINY, WIDE, LARGE, HUGE = 1e-7, 3, 1e2, 1e4


@dataclass(frozen=True)
class Family:
    """How inputs change, by their role.

    Args:
        name: The label of its case.
        floats: For an input that is drawn as floating-point numbers; one of FLOATS.
        integers: For one that is drawn from a range of whole numbers; one of INTEGERS.
        masks: For a mask; one of MASKS.
        seed: Added to the seed of the draws.
        thorough: Whether only effort=thorough asks it.
        long: Whether every dimension but the batch is at its largest: an outlier needs many numbers around it.
    """

    name: str
    floats: str
    integers: str
    masks: str
    seed: int = 0
    thorough: bool = False
    long: bool = False

    def concerns(self, roles: Set[str]) -> bool:
        """Whether it changes an input of one of these roles, or is another draw like the YAML's."""
        changed = {role for role in ("floats", "integers", "masks") if getattr(self, role) != "drawn"}
        return not changed or bool(changed & roles)


# In the order of how many planted faults they found: large inputs are asked with the first few only.
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
    rows = drawn.copy()
    if drawn.ndim > 1:
        rows[..., drawn.shape[-2] // 2 :, :] = 0
    return rows


def _outliers(drawn: Array, rng: np.random.Generator) -> Array:
    """One number of each row far from the others: a burst in a signal, a defect pixel."""
    changed = drawn.copy()
    if drawn.ndim:
        rows = changed.reshape(len(changed), -1)
        rows[range(len(rows)), rng.integers(rows.shape[1], size=len(rows))] = LARGE
    return changed


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
FLAT = ("zeros", "ones", "rows of zeros")  # the names of those in which thousands of numbers are one
ORDINARY = ("drawn", "negative")  # of floats: as accurate in a type of fewer bits as the draws are
# From a number's place and the size of the range: which number of the range.
INTEGERS: Mapping[str, Callable[[Any, int], Any]] = {
    "lowest": lambda place, count: 0 * place,
    "highest": lambda place, count: 0 * place + count - 1,
    "ends": lambda place, count: (place % 2) * (count - 1),
    "running": lambda place, count: place % count,
    "alike": lambda place, count: 0 * place + count // 2,
}
# From a place in its row, the row's length and the row's number: whether the place is on.
MASKS: Mapping[str, Callable[[Any, int, Any], Any]] = {
    "all": lambda place, length, row: place >= 0,
    "first": lambda place, length, row: place < 1,
    "holes": lambda place, length, row: place % 2 == row % 2,
    "left": lambda place, length, row: place >= (length // 2) * (row % 2 == 0),
    "row off": lambda place, length, row: (row != min(1, row.max())) & (place >= 0),
}


def labelled(
    interface: Interface, seed: int, how: Preprocessing | None, effort: str
) -> Iterator[tuple[str, str, dict[str, int], dict[str, Array]]]:
    """Name, level, sizes and inputs of each family that this interface has an input for; no inputs twice."""
    if effort == "quick":
        return
    roles = {name: role(spec) for name, spec in interface.inputs.items()}
    earlier = [fills.draw(interface.inputs, small(interface), seed, how)]
    for family in FAMILIES:
        if (family.thorough and effort != "thorough") or not family.concerns(set(roles.values())):
            continue
        sizes = long(interface) if family.long else small(interface)
        inputs = fills.draw(interface.inputs, sizes, seed + family.seed, how)
        for name, spec in interface.inputs.items():
            inputs[name] = _of_family(family, name, spec, inputs[name], seed)
        inputs = fills.placed(interface.inputs, inputs)
        if not any(_same(inputs, other) for other in earlier):
            earlier.append(inputs)
            yield family.name, _level(family, set(roles.values())), sizes, inputs


def small(interface: Interface) -> dict[str, int]:
    """The sizes that families run at: a few rows where inputs are small, otherwise the smallest."""
    import numpy as np

    sizes = asked_sizes.few(interface.dims, FEW)
    elements = sum(int(np.prod(spec.at(sizes))) for spec in interface.inputs.values() if None not in spec.shape)
    return sizes if elements <= LITTLE else {name: d.min for name, d in interface.dims.items()}


def long(interface: Interface) -> dict[str, int]:
    """Every dimension at its largest but the first of each input, which is usually the batch."""
    first = {spec.shape[0] for spec in interface.inputs.values() if spec.shape}
    return {name: d.min if name in first else d.max for name, d in interface.dims.items()}


def role(spec: Input) -> str:
    """The role of an input: masks, integers, floats, or "as drawn" for what the YAML sets to one value."""
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
