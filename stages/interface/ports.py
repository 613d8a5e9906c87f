"""The inputs and outputs of a file: names and shapes that its author chose, and our names for them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import ConfigError, StageError, listed, nearest
from stages.interface.interface import DTYPES, Input, check_dims, is_name


@dataclass(frozen=True)
class Port:
    """One input or output.

    Args:
        theirs: Its name in the file's own framework.
        aliases: All names that the file has for it.
        shape: A number for a fixed dimension, None for another; None for a shape that the file does not state.
        dtype: numpy's name.
    """

    theirs: str
    aliases: Collection[str]
    shape: list[int | None] | None
    dtype: str

    @property
    def says(self) -> str:
        """The port as in the file, such as "image:0 [?, 8, 8, 3] float32"."""
        shape = (
            "of any shape" if self.shape is None else f"[{', '.join('?' if d is None else str(d) for d in self.shape)}]"
        )
        return f"{self.theirs} {shape} {self.dtype}"

    def is_called(self, name: str) -> bool:
        """Whether the file has this name for it; TensorFlow's ":0", an operator's first result, may be omitted."""
        return any(name in (a, a.removesuffix(":0")) for a in self.aliases)


def read(ports: Iterable[Any], what: str) -> list[Port]:
    """The inputs or outputs of an openvino.Model, in order. Raises StageError for a type that no target has.

    Args:
        ports: `model.inputs` or `model.outputs`.
        what: "input" or "output": a port without a name is named after its place.
    """
    return [_port(p, f"{what}_{place}") for place, p in enumerate(ports)]


def _port(port: Any, otherwise: str) -> Port:
    names = set(port.get_names()) or {otherwise}
    node = port.get_node().get_friendly_name()
    # A result in TensorFlow has several names; the operator's own is the one that its author knows.
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


def by_name(inputs: Iterable[Port], outputs: Iterable[Port], chosen: Mapping[str, str]) -> list[dict[str, Port]]:
    """The inputs and the outputs by names that every target takes, in the file's order.

    Args:
        inputs: The file's.
        outputs: The file's.
        chosen: Names that the user chose, each with the file's name; others are derived from the file's names.

    Raises ConfigError for a name that the file does not have.
    """
    sides = [list(inputs), list(outputs)]
    every = [p for side in sides for p in side]
    ours_by_port: dict[int, str] = {}
    for ours, theirs in chosen.items():
        port = next((p for p in every if p.is_called(theirs) and id(p) not in ours_by_port), None)
        if port is None:
            existing = [p.theirs for p in every]
            raise ConfigError(
                f"names.{ours} is '{theirs}', which is no input or output of the file{nearest(theirs, existing)}",
                allowed=listed(existing),
                command=f"'+model.names.{ours}=\"{existing[0]}\"'",
            )
        ours_by_port[id(port)] = ours
    used = set(chosen)
    return [{ours_by_port.get(id(p)) or legal(p.theirs, used): p for p in side} for side in sides]


def legal(theirs: str, used: set[str]) -> str:
    """A legal name for a port that is not used yet; it is added to `used`."""
    text = re.sub(r"\W", "_", theirs.removesuffix(":0"), flags=re.ASCII).strip("_")
    text = text if is_name(text) else f"port_{text}"
    name = next(n for n in (text, *(f"{text}_{i}" for i in range(2, len(used) + 3))) if n not in used)
    used.add(name)
    return name


def inputs(ports: Mapping[str, Port], stated: Mapping[str, Input] | None, dims: Mapping[str, Any]) -> dict[str, Input]:
    """The inputs with a number or a name of `dims` for each dimension, in the file's order.

    Args:
        ports: The file's inputs, by our names.
        stated: The inputs of the YAML; None for the file's, with names such as image_dim0 for open dimensions.
        dims: The ranges of the dynamic dimensions.

    Raises:
        ConfigError: When the inputs, types or numbers of dimensions differ between the YAML and the file, or neither
            states a shape or a range.
        CheckFailed: When a range is set that no input uses.
    """
    if stated is None:
        whole = {name: Input(_shape(name, port, ports), port.dtype) for name, port in ports.items()}
        check_dims(whole, dims)
        return whole
    if wrong := [*(n for n in stated if n not in ports), *(n for n in ports if n not in stated)]:
        name = wrong[0]
        is_ours = name in stated
        raise ConfigError(
            f"inputs names '{name}', which is no input of the file{nearest(name, ports)}"
            if is_ours
            else f"inputs does not name '{name}', which is an input of the file",
            allowed=listed(f"{n} ({p.says})" for n, p in ports.items()),
            command=f"'+model.names.{name}=\"{next(iter(ports.values())).theirs}\"'" if is_ours else _spell(ports),
        )
    for name, port in ports.items():
        _check(name, stated[name], port)
    return {name: stated[name] for name in ports}


def _shape(name: str, port: Port, ports: Mapping[str, Port]) -> list[Any]:
    if port.shape is None:
        raise ConfigError(
            f"the file does not say the shape of its input '{name}'",
            allowed="a number or a name of dims for each of its dimensions, and the shapes of the other inputs too",
            command=_spell(ports),
        )
    return [f"{name}_dim{axis}" if size is None else size for axis, size in enumerate(port.shape)]


def _spell(ports: Mapping[str, Port]) -> str:
    """What to type to state all inputs."""
    shapes = {
        n: "…" if p.shape is None else ", ".join("batch" if d is None else str(d) for d in p.shape)
        for n, p in ports.items()
    }
    inputs = ", ".join(f"{n}: {{shape: [{shapes[n]}], dtype: {p.dtype}}}" for n, p in ports.items())
    return f"'model.inputs={{{inputs}}}'"


def _check(name: str, spec: Input, port: Port) -> None:
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


def reshaped(specs: Mapping[str, Input], ports: Mapping[str, Port]) -> list[str]:
    """The inputs that get other sizes than the file has, in words."""
    return [
        f"{name} from {port.says} to {specs[name].shape}"
        for name, port in ports.items()
        if port.shape
        and any(size not in (None, stated) for size, stated in zip(port.shape, specs[name].shape, strict=True))
    ]
