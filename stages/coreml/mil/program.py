"""An ML Program as plain data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.errors import StageError, listed
from stages.formats.graphs import WEIGHTED


@dataclass(frozen=True)
class Type:
    """The type of a value.

    Args:
        form: "tensor", "list", "tuple", "dictionary" or "state".
        dtype: The type of a tensor, of a state's tensor, or of a list's elements: numpy's name, "string", or a MIL type
            of less than a byte.
        shape: The shape of the same; None for a size that is known only at run time, or as a whole for any rank.
    """

    form: str
    dtype: str = ""
    shape: tuple[int | None, ...] | None = None


@dataclass(frozen=True)
class Value:
    """A constant value in the program, or in its weight file.

    Args:
        type: Its type.
        load: Reads it: an array, a string, or a list of these.
    """

    type: Type
    load: Callable[[], Any] = field(repr=False)


@dataclass(frozen=True)
class Operation:
    """One operation.

    Args:
        type: Its type in MIL, such as "conv".
        name: Its own name.
        inputs: Parameter to its arguments: names of values, or values. A variadic parameter has several.
        attributes: Values by name: a constant's "val", the parameters of constexpr operations up to iOS17.
        outputs: Name and type of each result.
        blocks: Nested blocks: the branches of cond, condition and body of while_loop.
    """

    type: str
    name: str
    inputs: Mapping[str, tuple[str | Value, ...]]
    attributes: Mapping[str, Value]
    outputs: tuple[tuple[str, Type], ...]
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True)
class Block:
    """Operations in their order, the names of the block's inputs, and the names that it returns."""

    inputs: tuple[str, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]

    def walk(self) -> Iterator[Operation]:
        """All operations, including those of nested blocks."""
        for operation in self.operations:
            yield operation
            for block in operation.blocks:
                yield from block.walk()


@dataclass(frozen=True)
class Feature:
    """An input or output as a caller sees it.

    Args:
        form: "array", "image", or "label" and "probabilities" of a classifier.
        dtype: numpy's name for an array; for an image uint8, or float16 for GRAYSCALE_FLOAT16.
        color: "RGB", "BGR" or "GRAYSCALE" for an image.
        shapes: The allowed shapes; empty where `ranges` or nothing restricts them.
        ranges: The smallest and largest size of each dimension; None for a largest without bound.
        optional: The default value of an optional input; None for a required one.
    """

    form: str
    dtype: str = ""
    color: str = ""
    shapes: tuple[tuple[int, ...], ...] = ()
    ranges: tuple[tuple[int, int | None], ...] = ()
    optional: float | None = None


@dataclass(frozen=True)
class Function:
    """One function of a program.

    Args:
        inputs: Name and type of the block's inputs, including states.
        opset: The version of the operations: 5 for iOS15, 6 for iOS16, 7 for iOS17, 8 for iOS18, 9 for iOS26.
        block: Its operations.
        takes: Its inputs as a caller sees them.
        gives: Its outputs as a caller sees them.
    """

    inputs: Mapping[str, Type]
    opset: int
    block: Block
    takes: Mapping[str, Feature]
    gives: Mapping[str, Feature]

    @property
    def fixed(self) -> bool:
        """Whether every input has one shape."""
        return all(kind.shape is not None and None not in kind.shape for kind in self.inputs.values())

    @property
    def labels(self) -> list[Any]:
        """The labels of a classifier, in the order of its probabilities; empty for other functions."""
        classes = [o.inputs["classes"][0] for o in self.block.operations if o.type == "classify"]
        return [v if isinstance(v, str) else int(v) for c in classes if isinstance(c, Value) for v in c.load()]

    @property
    def computes_in(self) -> str:
        """The result type of most operations with weights, float32 or float16.

        Without such operations it is float16 if any operation has that type. Norms and denominators may keep float32;
        see stages/formats/denominators.py.
        """
        results = [
            (operation.type, kind.dtype)
            for operation in self.block.walk()
            if operation.type != "const" and not operation.type.startswith("constexpr_")
            for _, kind in operation.outputs
        ]
        weighted = [dtype for kind, dtype in results if kind in WEIGHTED]
        if weighted:
            return "float16" if weighted.count("float16") > weighted.count("float32") else "float32"
        return "float16" if any(dtype == "float16" for _, dtype in results) else "float32"


@dataclass(frozen=True)
class Program:
    """The program in a .mlpackage.

    Args:
        path: The package.
        functions: The functions by name.
        default: The name of the function that runs by default.
    """

    path: Path
    functions: Mapping[str, Function]
    default: str

    def entered_by(self, function: str) -> Program:
        """The program with another default. Raises StageError for a function that it does not have."""
        if function not in self.functions:
            raise StageError(f"{self.path.name} has no function '{function}'", allowed=listed(self.functions))
        return replace(self, default=function)
