"""A model's interface: inputs, dynamic dimensions, outputs, and how forward is called with them.

The YAML states it once. `record_reference` completes it (the outputs are known only after the model has run), and it
travels in the artifacts' facts, so that every exporter, compiler and runtime uses the same interface.
"""

from __future__ import annotations

import itertools
import json
import keyword
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from pipeline.artifact import Artifact
from pipeline.errors import CheckFailed, ConfigError, Problem, StageError, listed, nearest
from pipeline.stage import OneOf, Setting, Settings, World

# numpy's names; torch's and every target's are the same for these.
DTYPES = ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")
FACT = "interface"
MANY = 4  # from so many inputs in a row with one shape, messages give their number instead
NAMES = "letters, digits and underscores, no digit first, and no keyword of Python's"  # see is_name


class Name(Setting):
    """A name that every target takes for an input or output; see `is_name`."""

    def problems(self, name: str, value: str) -> Iterable[Problem]:
        return [] if is_name(value) else [Problem(f"{name} is '{value}'", allowed=NAMES)]


class Shape(Setting):
    """The sizes of an input: numbers, names of dimensions, and sums of names such as past+sequence."""

    def problems(self, name: str, value: list[Any]) -> Iterable[Problem]:
        wrong = [size for size in value if not isinstance(size, str) and (type(size) is not int or size < 1)]
        allowed = "a whole number ≥ 1, a name of dims, or a sum of names: past+sequence"
        return [Problem(f"{name} holds {size!r}", allowed) for size in wrong]


# Not frozen: OmegaConf makes a frozen dataclass read-only before it has filled its lists.
@dataclass
class Input(Settings):
    """One input.

    Args:
        shape: A number for a fixed dimension, a name of `dims` for a dynamic one, or a sum of names, "past+sequence".
        dtype: One of DTYPES.
        fill: How examples are drawn; stages/interface/fills.py says what there is.
    """

    shape: Annotated[list[Any], Shape()]
    dtype: Annotated[str, OneOf(DTYPES)] = "float32"
    fill: Any = "uniform"

    def at(self, sizes: Mapping[str, int]) -> list[int]:
        """The shape with every name replaced by its size."""
        return [sum(sizes[d] for d in parts(size)) if isinstance(size, str) else int(size) for size in self.shape]

    @property
    def axes(self) -> dict[int, str]:
        """The dynamic dimensions: axis to name, or to a sum of names."""
        return {i: d for i, d in enumerate(self.shape) if isinstance(d, str)}

    @property
    def names(self) -> list[str]:
        """The names of `dims` in the shape, those in sums too."""
        return [name for size in self.axes.values() for name in parts(size)]


@dataclass
class Dim:
    """A dynamic dimension: the smallest, the usual and the largest size.

    Args:
        min: 0 where it may be empty, as a cache before the first token; see `problems`.
        multiple: Every size is a multiple of this; models that halve an image five times need 32.
    """

    min: int
    opt: int
    max: int
    multiple: int = 1

    @property
    def example(self) -> int:
        """The size used for capture. Never 0 or 1: torch.export would freeze the dimension at it."""
        return self.opt if self.opt > 1 else min(2 * self.multiple, self.max)

    @property
    def sizes(self) -> range:
        """All its sizes."""
        return range(self.min, self.max + 1, self.multiple)


class Dims(Setting):
    """Dynamic dimensions by name."""

    def problems(self, name: str, value: Mapping[str, Dim]) -> Iterable[Problem]:
        for called, dim in value.items():
            says = f"{name}.{called} is min {dim.min}, opt {dim.opt}, max {dim.max}"
            if not called.isidentifier():
                yield Problem(f"{name} names '{called}'", allowed="letters, digits and underscores")
            if not 0 <= dim.min <= dim.opt <= dim.max or dim.min == dim.max:
                allowed = "0 ≤ min ≤ opt ≤ max and min < max; a dimension of one size is a number in the shape"
                yield Problem(says, allowed)
            if dim.multiple < 1 or any(size % dim.multiple for size in (dim.min, dim.opt, dim.max)):
                yield Problem(f"{says} of multiple {dim.multiple}", allowed="sizes that are multiples of it")


class Ranges(Dims):
    """Dynamic dimensions of a file's inputs, identified in the form that records have had since the first."""

    def identity(self, name: str, value: Mapping[str, Dim], world: World) -> Any:
        return {called: [d.min, d.opt, d.max, d.multiple] for called, d in value.items()}


class Shapes(Setting):
    """Inputs by name. Only their shapes and types decide the result, not how examples are drawn."""

    def identity(self, name: str, value: Mapping[str, Input], world: World) -> Any:
        return {called: [spec.shape, spec.dtype] for called, spec in value.items()}


@dataclass
class Output:
    """One output.

    Args:
        path: Where it is in what forward returns: keys, indices and attributes; empty when forward returns only it.
        shape: A number for a dimension that does not depend on the inputs' sizes, a name for one that follows a
            dynamic dimension, or a sum of names that an input has, None for one that varies in another way.
        dtype: numpy's name.
    """

    path: list[Any]
    shape: list[Any]
    dtype: str


@dataclass(frozen=True)
class Interface:
    """The complete inputs and outputs of a model.

    Args:
        inputs: The inputs by name, in the order in which every target takes them.
        dims: The dimensions, by name.
        outputs: The outputs by name, in the order in which every target returns them.
        call: How forward is called; see stages/interface/call.py.
    """

    inputs: Mapping[str, Input]
    dims: Mapping[str, Dim] = field(default_factory=dict)
    outputs: Mapping[str, Output] = field(default_factory=dict)
    call: Mapping[str, Any] | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """The facts of an artifact: everything but the fills of examples, which are no part of the model.

        Lists and text instead of mappings, since facts are written with sorted keys and the order matters here.
        """
        return {
            FACT: {
                "inputs": [{"name": n, "shape": list(s.shape), "dtype": s.dtype} for n, s in self.inputs.items()],
                "dims": [{"name": n, **asdict(d)} for n, d in self.dims.items()],
                "outputs": [{"name": n, **asdict(o)} for n, o in self.outputs.items()],
                "call": json.dumps(self.call),
            }
        }

    def sized(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """Sizes of the dynamic dimensions, and of the sums of dimensions in the inputs' shapes."""
        sums = {s: sum(sizes[d] for d in parts(s)) for spec in self.inputs.values() for s in spec.axes.values()}
        return {**sizes, **sums}

    @classmethod
    def read(cls, artifact: Artifact) -> Interface:
        """Reads the interface from an artifact's facts. Raises StageError when there is none."""
        if (recorded := artifact.facts.get(FACT)) is None:
            raise StageError(f"this {artifact.kind} came without its interface", command="record_reference before it")
        return cls(
            {i["name"]: Input(i["shape"], i["dtype"]) for i in recorded["inputs"]},
            {d["name"]: Dim(d["min"], d["opt"], d["max"], d["multiple"]) for d in recorded["dims"]},
            {o["name"]: Output(o["path"], o["shape"], o["dtype"]) for o in recorded["outputs"]},
            json.loads(recorded["call"]),
        )


def problems(inputs: Mapping[str, Input], dims: Mapping[str, Dim]) -> Iterator[Problem]:
    """Problems of inputs and dimensions that do not fit together, each with its place."""
    if not inputs:
        yield Problem("inputs is empty", allowed="at least one input")
    for name, dim in ((n, d) for n, spec in inputs.items() for d in spec.names if d not in dims):
        wrong = f"inputs.{name}.shape names '{dim}', which is no dimension of dims{nearest(dim, dims)}"
        command = f"'+model.dims.{dim}={{min: 1, opt: 2, max: 8}}'"
        yield Problem(wrong, listed(dims) or "dims is empty", command)
    used = {d for spec in inputs.values() for d in spec.names}
    for name in (n for n in dims if n not in used):
        yield Problem(f"dims.{name} is in no input's shape", command=f"~model.dims.{name}")
    grows = {d for spec in inputs.values() if is_cache(spec) for d in spec.names}
    # A batch is in a cache's shape, too, and an empty batch has nothing to compute.
    grows -= {size for spec in inputs.values() if not is_cache(spec) for size in spec.axes.values()}
    for name in (n for n, d in dims.items() if d.min == 0 and n not in grows):
        wrong = f"dims.{name}.min is 0, and no cache follows it: there is nothing to compute of an empty input"
        yield Problem(
            wrong, "1 or more; 0 in the shape of inputs with fill {cache: OUTPUT}", f"model.dims.{name}.min=1"
        )
    parameters = [parameter(name) for name in inputs]
    for name in (n for n in inputs if parameters.count(parameter(n)) > 1):
        yield Problem(f"inputs names '{name}', which in Python is {parameter(name)} as another", "names that differ")


def check_dims(inputs: Mapping[str, Input], dims: Mapping[str, Dim]) -> None:
    """Compares `dims` with the dynamic dimensions of a file's inputs.

    Raises:
        ConfigError: When one has no range.
        CheckFailed: When a range is set that no input uses.
    """
    used = {d for spec in inputs.values() for d in spec.names}
    shapes = listed(f"{n} {s.shape}" for n, s in inputs.items())
    if missing := sorted(used - set(dims)):
        raise ConfigError(
            f"dims has no {listed(missing)}, which the file's inputs have: {shapes}",
            allowed="a range for each",
            command=ranges({name: Dim(1, 2, 8) for name in missing}),
        )
    if unused := sorted(set(dims) - used):
        raise CheckFailed(
            f"dims.{unused[0]} was asked for, and no input of the file follows it: {shapes}",
            allowed=listed(sorted(used)) or "no dynamic dimension: the file fixes them all",
            command=f"without model.dims.{unused[0]}, or a file that was exported with it",
        )


def ranges(dims: Mapping[str, Dim]) -> str:
    """What to type for missing ranges."""
    texts = {
        name: f"{{min: {d.min}, opt: {d.opt}, max: {d.max}{f', multiple: {d.multiple}' if d.multiple > 1 else ''}}}"
        for name, d in dims.items()
    }
    return f"'+model.dims={{{', '.join(f'{name}: {dim}' for name, dim in texts.items())}}}'"


def is_name(text: str) -> bool:
    """Whether every target takes this as the name of an input or output: ONNX takes any text, Core ML an identifier."""
    return text.isidentifier() and text.isascii() and not keyword.iskeyword(text)


def is_dotted(text: str) -> bool:
    """Whether this is such a name, or one with dots, as caches have: past_key_values.0.key."""
    return text.isascii() and is_name(text.split(".")[0]) and is_name(parameter(text)) and not text.endswith(".")


def parameter(name: str) -> str:
    """The name of an input in Python: past_key_values_0_key."""
    return re.sub(r"\W", "_", name, flags=re.ASCII)


def parts(size: str) -> list[str]:
    """The names of dims in a size, which is their sum: "past+sequence" has two, "batch" has one."""
    return size.split("+")


def range_of(size: str, dims: Mapping[str, Dim]) -> Dim:
    """The sizes of a name in a shape, or of a sum of names."""
    if size in dims:
        return dims[size]
    summed = [dims[name] for name in parts(size)]
    multiple = math.gcd(*(d.multiple for d in summed))
    return Dim(sum(d.min for d in summed), sum(d.opt for d in summed), sum(d.max for d in summed), multiple)


def is_cache(spec: Input) -> bool:
    """Whether an input takes an output of the call before."""
    return isinstance(spec.fill, Mapping) and "cache" in spec.fill


def example_sizes(dims: Mapping[str, Dim]) -> dict[str, int]:
    """The size of each dynamic dimension in the inputs that a model is captured with."""
    return {name: dim.example for name, dim in dims.items()}


def cases(dims: Mapping[str, Dim]) -> dict[str, dict[str, int]]:
    """The shapes that a model is checked at, by label: the example's, the smallest, an odd one, the largest.

    The last three differ from the example on purpose: a dimension that capture froze passes at the example only.
    """
    labelled = {
        "example": example_sizes(dims),
        "min": {name: dim.min for name, dim in dims.items()},
        "odd": _odd_sizes(dims),
        "max": {name: dim.max for name, dim in dims.items()},
    }
    distinct: dict[str, dict[str, int]] = {}
    for label, sizes in labelled.items():
        if sizes not in distinct.values():
            distinct[label] = sizes
    return distinct


def _odd_sizes(dims: Mapping[str, Dim]) -> dict[str, int]:
    """An odd multiple for each dimension, different ones if possible, so that swapped axes are noticed."""
    sizes: dict[str, int] = {}
    for name, dim in dims.items():
        odd = [n for n in dim.sizes if n // dim.multiple % 2 and n not in (dim.example, dim.min, dim.max)]
        choices = [*odd, dim.max, *dim.sizes]
        sizes[name] = next((n for n in choices if n not in sizes.values()), choices[0])
    return sizes


def output_shape(shapes: Mapping[str, Sequence[int]], sizes: Mapping[str, Mapping[str, int]]) -> list[Any]:
    """Which dynamic dimensions an output's dimensions follow.

    Args:
        shapes: The output's shape in each case, by label.
        sizes: The dynamic dimensions' sizes in each case, by label.

    Returns a number, a name or None for each axis; see Output.
    """
    return [_follows({label: shape[axis] for label, shape in shapes.items()}, sizes) for axis in range(_rank(shapes))]


def _rank(shapes: Mapping[str, Sequence[int]]) -> int:
    ranks = {len(s) for s in shapes.values()}
    if len(ranks) != 1:
        raise StageError(f"an output has {listed(map(str, sorted(ranks)))} dimensions, by the inputs' sizes")
    return ranks.pop()


def _follows(by_label: Mapping[str, int], sizes: Mapping[str, Mapping[str, int]]) -> Any:
    if len(set(by_label.values())) == 1:
        return next(iter(by_label.values()))
    dims = next(iter(sizes.values()))
    return next((d for d in dims if all(by_label[label] == sizes[label][d] for label in by_label)), None)


def says(shape: Sequence[int]) -> str:
    """A shape as people write it: 2x3x224x224."""
    return "x".join(map(str, shape)) or "scalar"


def says_all(arrays: Mapping[str, Any]) -> str:
    """The shapes of inputs in their order; of many in a row that are alike how many, as a cache has them."""
    shapes = [(shape, len(list(group))) for shape, group in itertools.groupby(says(v.shape) for v in arrays.values())]
    return ", ".join(f"{count} of {shape}" if count >= MANY else ", ".join([shape] * count) for shape, count in shapes)
