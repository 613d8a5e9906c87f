"""The inputs and outputs of a file as its author named and shaped them, and as they are called here."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import ConfigError, StageError, listed, nearest
from stages.interface.interface import DTYPES, Input, hold_dims, is_name


@dataclass(frozen=True)
class Port:
    """One input or output.

    Args:
        theirs: The name that the file's own framework finds it by.
        aliases: All names that the file has for it.
        shape: A number for a fixed dimension, None for another; None for a shape that the file does not say.
        dtype: numpy's name.
    """

    theirs: str
    aliases: Collection[str]
    shape: list[int | None] | None
    dtype: str

    @property
    def says(self) -> str:
        """It as the file has it, such as "image:0 [?, 8, 8, 3] float32"."""
        shape = (
            "of any shape" if self.shape is None else f"[{', '.join('?' if d is None else str(d) for d in self.shape)}]"
        )
        return f"{self.theirs} {shape} {self.dtype}"

    def is_called(self, name: str) -> bool:
        """Whether the file calls it so; TensorFlow's ":0", the first of an operator's results, may be left out."""
        return any(name in (a, a.removesuffix(":0")) for a in self.aliases)


def of(ports: Iterable[Any], what: str) -> list[Port]:
    """The inputs or outputs of an openvino.Model, in order. Raises StageError for a type that nothing shares.

    Args:
        ports: `model.inputs` or `model.outputs`.
        what: "input" or "output": one without a name is called by its place.
    """
    return [_port(p, f"{what}_{place}") for place, p in enumerate(ports)]


def _port(port: Any, otherwise: str) -> Port:
    names = set(port.get_names()) or {otherwise}
    node = port.get_node().get_friendly_name()
    # Of a result's names in TensorFlow the operator's own is the one that its author knows.
    theirs = node if node in names else min(names)
    shape = port.partial_shape
    dims = None if shape.rank.is_dynamic else [None if d.is_dynamic else d.get_length() for d in shape]
    dtype = _dtype(port)
    if dtype not in DTYPES:
        raise StageError(f"'{theirs}' is of type {dtype}", allowed=listed(DTYPES))
    return Port(theirs, sorted(names), dims, dtype)


def _dtype(port: Any) -> str:
    try:
        return str(port.element_type.to_dtype())
    except Exception:  # OpenVINO raises its own for types that numpy has not
        return str(port.element_type.get_type_name())


def named(inputs: Iterable[Port], outputs: Iterable[Port], wanted: Mapping[str, str]) -> list[dict[str, Port]]:
    """The inputs and the outputs by names that every target takes, in the file's order.

    Args:
        inputs: The file's.
        outputs: The file's.
        wanted: Names that the user chose, and what the file calls each; others are made of the file's.

    Raises ConfigError for a name that the file does not have.
    """
    sides = [list(inputs), list(outputs)]
    every = [p for side in sides for p in side]
    chosen: dict[int, str] = {}
    for ours, theirs in wanted.items():
        found = next((p for p in every if p.is_called(theirs) and id(p) not in chosen), None)
        if found is None:
            known = [p.theirs for p in every]
            raise ConfigError(
                f"names.{ours} is '{theirs}', which is no input or output of the file{nearest(theirs, known)}",
                allowed=listed(known),
                command=f"'+model.names.{ours}=\"{known[0]}\"'",
            )
        chosen[id(found)] = ours
    taken = set(wanted)
    return [{chosen.get(id(p)) or legal(p.theirs, taken): p for p in side} for side in sides]


def legal(theirs: str, taken: set[str]) -> str:
    """A name made of the file's that is not taken; it is taken then."""
    text = re.sub(r"\W", "_", theirs.removesuffix(":0"), flags=re.ASCII).strip("_")
    text = text if is_name(text) else f"port_{text}"
    name = next(n for n in (text, *(f"{text}_{i}" for i in range(2, len(taken) + 3))) if n not in taken)
    taken.add(name)
    return name


def inputs(found: Mapping[str, Port], given: Mapping[str, Input] | None, dims: Mapping[str, Any]) -> dict[str, Input]:
    """The inputs with a number or a name of `dims` for each dimension, in the file's order.

    Args:
        found: The file's, by their names here.
        given: What the YAML says; None for what the file says, with names such as image_dim0 for what it leaves open.
        dims: The ranges of the dynamic dimensions.

    Raises:
        ConfigError: When the YAML and the file have not the same inputs, types and numbers of dimensions, or neither
            says a shape or a range.
        CheckFailed: When a range is asked for that no input follows.
    """
    if given is None:
        whole = {name: Input(_shape(name, port, found), port.dtype) for name, port in found.items()}
        hold_dims(whole, dims)
        return whole
    if wrong := [*(n for n in given if n not in found), *(n for n in found if n not in given)]:
        name = wrong[0]
        is_ours = name in given
        raise ConfigError(
            f"inputs names '{name}', which is no input of the file{nearest(name, found)}"
            if is_ours
            else f"inputs does not name '{name}', which is an input of the file",
            allowed=listed(f"{n} ({p.says})" for n, p in found.items()),
            command=f"'+model.names.{name}=\"{next(iter(found.values())).theirs}\"'" if is_ours else _spell(found),
        )
    for name, port in found.items():
        _hold(name, given[name], port)
    return {name: given[name] for name in found}


def _shape(name: str, port: Port, found: Mapping[str, Port]) -> list[Any]:
    if port.shape is None:
        raise ConfigError(
            f"the file does not say the shape of its input '{name}'",
            allowed="a number or a name of dims for each of its dimensions, and the shapes of the other inputs too",
            command=_spell(found),
        )
    return [f"{name}_dim{axis}" if size is None else size for axis, size in enumerate(port.shape)]


def _spell(found: Mapping[str, Port]) -> str:
    """What to type to say all inputs."""
    shapes = {
        n: "…" if p.shape is None else ", ".join("batch" if d is None else str(d) for d in p.shape)
        for n, p in found.items()
    }
    inputs = ", ".join(f"{n}: {{shape: [{shapes[n]}], dtype: {p.dtype}}}" for n, p in found.items())
    return f"'model.inputs={{{inputs}}}'"


def _hold(name: str, spec: Input, port: Port) -> None:
    if spec.dtype != port.dtype:
        raise ConfigError(
            f"inputs.{name}.dtype is {spec.dtype}, the file's is {port.dtype}",
            command=f"+model.inputs.{name}.dtype={port.dtype}",
        )
    if port.shape is not None and len(port.shape) != len(spec.shape):
        raise ConfigError(
            f"inputs.{name}.shape is {spec.shape}, of {len(spec.shape)} dimensions; the file's has {len(port.shape)}",
            allowed=port.says,
        )


def reshaped(specs: Mapping[str, Input], found: Mapping[str, Port]) -> list[str]:
    """The inputs that are given sizes which the file itself does not have, in words."""
    return [
        f"{name} from {port.says} to {specs[name].shape}"
        for name, port in found.items()
        if port.shape
        and any(size not in (None, asked) for size, asked in zip(port.shape, specs[name].shape, strict=True))
    ]
