"""A model's interface as its YAML states it: inputs, dynamic dimensions, outputs. Every exporter is driven from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.errors import Problem, listed, nearest

if TYPE_CHECKING:
    import numpy as np

# numpy's names; torch's and every target's are the same for these.
DTYPES = ("float32", "float16", "int64", "int32", "bool", "uint8")
FILLS = ("uniform", "normal", "ones", "zeros")


# Not frozen: OmegaConf makes a frozen dataclass read-only before it has filled its lists.
@dataclass
class Input:
    """One input.

    Args:
        shape: A number for a fixed dimension, a name of `dims` for a dynamic one.
        dtype: One of DTYPES.
        fill: How examples are drawn: uniform in [0, 1), standard normal, ones or zeros.
    """

    shape: list[Any]
    dtype: str = "float32"
    fill: str = "uniform"

    def at(self, sizes: Mapping[str, int]) -> list[int]:
        """The shape with every name replaced by its size."""
        return [sizes[d] if isinstance(d, str) else int(d) for d in self.shape]


@dataclass
class Dim:
    """A dynamic dimension: the smallest, the usual and the largest size that is asked for."""

    min: int
    opt: int
    max: int

    @property
    def example(self) -> int:
        """The size used for capture. Never 0 or 1: torch.export would freeze the dimension at it."""
        return max(self.opt, 2)


def problems(inputs: Mapping[str, Input], dims: Mapping[str, Dim], outputs: Sequence[str]) -> list[Problem]:
    """What is wrong with an interface, every place named."""
    found: list[Problem] = []
    if not inputs:
        found.append(Problem("inputs is empty", allowed="at least one input"))
    if not outputs:
        found.append(Problem("outputs is empty", allowed="one name for each output, in order"))
    for name in {*inputs} & {*outputs}:
        found.append(Problem(f"outputs and inputs both name '{name}'", allowed="names that differ"))
    for name, spec in inputs.items():
        found += _input_problems(name, spec, dims)
    for name, dim in dims.items():
        if not name.isidentifier():
            found.append(Problem(f"dims names '{name}'", allowed="letters, digits and underscores"))
        if not 0 < dim.min <= dim.opt <= dim.max or dim.min == dim.max:
            found.append(
                Problem(
                    f"dims.{name} is min {dim.min}, opt {dim.opt}, max {dim.max}",
                    allowed="1 ≤ min ≤ opt ≤ max and min < max; a dimension of one size is a number in the shape",
                )
            )
        if not any(name in spec.shape for spec in inputs.values()):
            found.append(Problem(f"dims.{name} is in no input's shape", command=f"~model.dims.{name}"))
    return found


def _input_problems(name: str, spec: Input, dims: Mapping[str, Dim]) -> Iterator[Problem]:
    for dim in spec.shape:
        if isinstance(dim, str) and dim not in dims:
            yield Problem(
                f"inputs.{name}.shape names '{dim}', which is no dimension of dims{nearest(dim, dims)}",
                allowed=listed(dims) or "dims is empty",
                command=f"'+model.dims.{dim}={{min: 1, opt: 2, max: 8}}'",
            )
        elif not isinstance(dim, str) and (not isinstance(dim, int) or isinstance(dim, bool) or dim < 1):
            yield Problem(f"inputs.{name}.shape holds {dim!r}", allowed="a whole number ≥ 1 or a name of dims")
    if spec.dtype not in DTYPES:
        yield Problem(f"inputs.{name}.dtype is {spec.dtype}{nearest(spec.dtype, DTYPES)}", allowed=listed(DTYPES))
    if spec.fill in ("uniform", "normal") and not spec.dtype.startswith("float"):
        yield Problem(
            f"inputs.{name}.fill is {spec.fill}, which as {spec.dtype} is nearly always the same number",
            allowed="ones or zeros",
            command=f"model.inputs.{name}.fill=ones",
        )
    if spec.fill not in FILLS:
        yield Problem(f"inputs.{name}.fill is {spec.fill}{nearest(spec.fill, FILLS)}", allowed=listed(FILLS))


def example_sizes(dims: Mapping[str, Dim]) -> dict[str, int]:
    """The size of each dynamic dimension in the inputs that a model is captured with."""
    return {name: dim.example for name, dim in dims.items()}


def cases(dims: Mapping[str, Dim]) -> dict[str, dict[str, int]]:
    """The shapes that a model is checked at, by label: the example's, the smallest, an odd one, the largest.

    The last three differ from the example on purpose: a dimension that capture froze passes at the example only.
    """
    wanted = {
        "example": example_sizes(dims),
        "min": {name: dim.min for name, dim in dims.items()},
        "odd": {name: _odd(dim) for name, dim in dims.items()},
        "max": {name: dim.max for name, dim in dims.items()},
    }
    distinct: dict[str, dict[str, int]] = {}
    for label, sizes in wanted.items():
        if sizes not in distinct.values():
            distinct[label] = sizes
    return distinct


def _odd(dim: Dim) -> int:
    return next((n for n in range(max(dim.min, 3), dim.max) if n % 2 and n != dim.example), dim.max)


def draw(inputs: Mapping[str, Input], sizes: Mapping[str, int], seed: int) -> dict[str, np.ndarray[Any, Any]]:
    """Inputs of the given sizes. The same seed gives the same values, whatever other inputs there are."""
    import numpy as np

    drawn = {}
    for name, spec in inputs.items():
        shape = spec.at(sizes)
        # Each input and shape has a stream of its own, so that adding an input changes no other's values.
        rng = np.random.default_rng([seed, *name.encode(), *shape])
        values: Any = {
            "uniform": lambda: rng.random(shape),  # noqa: B023 (called before the loop goes on)
            "normal": lambda: rng.standard_normal(shape),  # noqa: B023
            "ones": lambda: np.ones(shape),  # noqa: B023
            "zeros": lambda: np.zeros(shape),  # noqa: B023
        }[spec.fill]()
        drawn[name] = values.astype(spec.dtype)
    return drawn


def says(shape: Sequence[int]) -> str:
    """A shape as people write it: 2x3x224x224."""
    return "x".join(map(str, shape))
