"""Draws example inputs.

A fill is one of these words: uniform (in [0, 1)), normal (standard), ones, zeros, mask (ones, then zeros from a random
place in the last dimension on; the first row has no zeros); or a mapping with one key:

    {integers: [low, high]}     uniform integers, low included, high not
    {boxes: [low, high]}        the same, as left, top, right, bottom in the last dimension, in the right order
    {mask: left}                a mask whose zeros are at the left, as texts are padded for generation
    {positions: MASK}           the number of ones before each place of such a mask: its last places
    {cache: OUTPUT}             that output of the call before; standard normal if there was no call
    {file: inputs.npz}          the array of the input's name; .npy and .pt with a single array or tensor too
    {image: cat.jpg}            a photograph, or a list of them, through the model's preprocessing
    {factory: my_pkg.data.ids}  called with shape=[…] and seed=…; returns an array or a tensor
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError, Problem, StageError, listed, nearest
from pipeline.stage import Setting, World, digest_of
from stages.interface import images
from stages.interface.images import Preprocessing
from stages.interface.interface import Input, says
from stages.portable.vendor_errors import first_line

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

WORDS = ("uniform", "normal", "ones", "zeros", "mask")
MAPPINGS = ("integers", "boxes", "mask", "positions", "cache", "file", "image", "factory")
DRAWN = MAPPINGS[:5]  # drawn without files or code
FACT = "fills"  # of a file that is a model: the fills that it implies itself, by input
SUFFIXES = (".npz", ".npy", ".pt")
# The least and the greatest number of each integer type; for other types any number will do.
LIMITS = {"bool": (0, 1), "uint8": (0, 255), "int8": (-128, 127), "int16": (-(2**15), 2**15 - 1)}
LIMITS["int32"] = (-(2**31), 2**31 - 1)


def problems(place: str, spec: Input, preprocessing: Preprocessing | None) -> Iterator[Problem]:
    """What is wrong with an input's fill; `place` is the setting's name."""
    fill, wrong = spec.fill, f"{place} is {spec.fill}"
    kind = next(iter(fill)) if isinstance(fill, Mapping) and len(fill) == 1 else fill
    if kind not in (MAPPINGS if isinstance(fill, Mapping) else WORDS):
        near = nearest(str(kind), (*WORDS, *MAPPINGS))
        yield Problem(f"{wrong}{near}", f"{listed(WORDS)}; or a mapping: {listed(MAPPINGS)}")
    elif kind in ("uniform", "normal") and not spec.dtype.startswith("float"):
        allowed, command = "{integers: [low, high]}, mask, ones, zeros", f"'model.{place}={{integers: [0, 100]}}'"
        yield Problem(f"{wrong}, which as {spec.dtype} is nearly always the same number", allowed, command)
    elif kind in ("mask", "positions") and not spec.shape:
        yield Problem(f"{wrong}, and its shape has no dimension to mask", listed(WORDS[:-1]))
    elif isinstance(fill, Mapping) and (allowed := _allowed(kind, fill[kind], spec.dtype)):
        yield Problem(wrong, allowed)
    elif kind == "image" and (preprocessing is None or len(spec.shape) != 4):
        why = "its shape is no" if preprocessing else "nothing says how it becomes a"
        problem = images.unprepared(f"{place} is an image, and {why} tensor of [batch, channels, height, width]")
        yield replace(problem, allowed="a shape of four dimensions, and model.preprocessing")


def _allowed(kind: str, value: Any, dtype: str) -> str:
    """What the value of a mapping may be, if it is wrong; else empty."""
    if kind in ("integers", "boxes") and not _is_range(value, dtype):
        return f"{{{kind}: [low, high]}} with low < high, both whole, and numbers that {dtype} has"
    if kind == "image" and not (value and all(isinstance(f, str) for f in _listed(value))):
        return "the path of a file, or a list of them"
    if kind == "mask" and value != "left":
        return "{mask: left}, or mask for zeros at the right"
    kinds_of_text = {
        "file": "path of a file",
        "factory": "dotted path",
        "positions": "name of a mask",
        "cache": "name of an output",
    }
    if kind in kinds_of_text and not isinstance(value, str):
        return f"the {kinds_of_text[kind]}"
    if kind == "file" and Path(value).suffix not in SUFFIXES:
        return f"a file that ends in {listed(SUFFIXES)}"
    return ""


def _is_range(value: Any, dtype: str) -> bool:
    if not (isinstance(value, Sequence) and len(value) == 2 and all(type(v) is int for v in value)):
        return False
    lowest, highest = LIMITS.get(dtype, (-(2**63), 2**63 - 1))
    return bool(lowest <= value[0] < value[1] <= highest + 1)


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]


def default(spec: Input, implied: Any = None) -> Input:
    """An input without a fill in the YAML: with the fill that its file implies, else uniform numbers, or 0 and 1."""
    usual = "uniform" if spec.dtype.startswith("float") else {"integers": [0, 2]}
    return replace(spec, fill=usual if implied is None else implied)


def is_assumed(spec: Input) -> bool:
    """Whether an input has integers: a model may need others than 0 and 1. Booleans are always right."""
    return spec.dtype.startswith(("int", "uint"))


def is_said(spec: Input) -> bool:
    """Whether a fill was stated: it is not the default, or the default fits the type."""
    return spec.fill != "uniform" or spec.dtype.startswith("float")


def is_drawn(spec: Input) -> bool:
    """Whether an input is drawn at random, so that there are as many examples as needed."""
    return isinstance(spec.fill, str) or not set(spec.fill).isdisjoint(DRAWN)


def is_left(spec: Input) -> bool:
    """Whether an input is a mask whose zeros are at the left."""
    return isinstance(spec.fill, Mapping) and "mask" in spec.fill


def between(inputs: Mapping[str, Input]) -> Iterator[Problem]:
    """Problems of fills that refer to an input which is no mask."""
    masks = [name for name, spec in inputs.items() if is_left(spec)]
    for name, spec in inputs.items():
        if _is_placed(spec) and spec.fill["positions"] not in masks:
            wrong = f"inputs.{name}.fill is {spec.fill}, and inputs has no such mask"
            yield Problem(wrong, listed(masks) or "the name of an input with fill {mask: left}")


class Filled(Setting):
    """Inputs by name. The files and functions of their fills are part of the identity."""

    def modules(self, value: Mapping[str, Input]) -> Iterable[str]:
        return ["PIL"] if pictures(value) else []

    def files(self, value: Mapping[str, Input]) -> Iterable[str]:
        return [path for spec in value.values() for path in _paths(spec)]

    def identity(self, name: str, value: Mapping[str, Input], world: World) -> Any:
        return {n: {**vars(s), "fill": _content(f"{name}.{n}.fill", s, world)} for n, s in value.items()}


def _content(place: str, spec: Input, world: World) -> Any:
    """The identity of a fill. Raises ConfigError for a file or a module that does not exist."""
    if isinstance(spec.fill, Mapping) and "factory" in spec.fill:
        return {**spec.fill, "code": dict(world.code(spec.fill["factory"]))}
    digests = [digest_of(file, world, f"{place}: {file}") for file in _files(spec)]
    return {"sha256": digests} if digests else spec.fill


def _files(spec: Input) -> list[Path]:
    return [Path(n).expanduser() for n in _paths(spec)]


def _paths(spec: Input) -> list[str]:
    if not isinstance(spec.fill, Mapping):
        return []
    return [str(n) for n in _listed(spec.fill.get("file", spec.fill.get("image", [])))]


def pictures(inputs: Mapping[str, Input]) -> list[Path]:
    """The photographs among the files."""
    return [f for s in inputs.values() if isinstance(s.fill, Mapping) and "image" in s.fill for f in _files(s)]


def draw(
    inputs: Mapping[str, Input], sizes: Mapping[str, int], seed: int, preprocessing: Preprocessing | None = None
) -> dict[str, Array]:
    """Inputs of these sizes. The same seed gives the same values, independent of the other inputs.

    Raises:
        StageError: When a file, an image or a factory does not fit the input's shape and type.
    """
    return placed(
        inputs, {name: _draw(name, spec, spec.at(sizes), seed, preprocessing) for name, spec in inputs.items()}
    )


def placed(inputs: Mapping[str, Input], drawn: Mapping[str, Array]) -> dict[str, Array]:
    """The same inputs, with positions computed from the masks."""
    return {
        name: positions(drawn[spec.fill["positions"]], values) if _is_placed(spec) else values
        for name, values in drawn.items()
        for spec in (inputs[name],)
    }


def positions(mask: Array, values: Array) -> Array:
    """The position of each token in its row, 0 for the first token and for padding before it; of the last tokens.

    Args:
        mask: [batch, past+sequence], 0 for padding.
        values: An array with the shape and the type of the result, [batch, sequence].
    """
    import numpy as np

    places = np.maximum(np.cumsum(mask.astype("i8"), axis=-1) - 1, 0)
    return np.ascontiguousarray(places[..., places.shape[-1] - values.shape[-1] :].astype(values.dtype))


def _is_placed(spec: Input) -> bool:
    return isinstance(spec.fill, Mapping) and "positions" in spec.fill


def _draw(name: str, spec: Input, shape: list[int], seed: int, preprocessing: Preprocessing | None) -> Array:
    import numpy as np

    # Each input and shape has its own random stream, so that another input does not change its values.
    rng = np.random.default_rng([seed, *name.encode(), *shape])
    fill = spec.fill
    values: Any
    if isinstance(fill, Mapping):
        if "integers" in fill:
            low, high = fill["integers"]
            values = rng.integers(low, high, shape)
        elif "boxes" in fill:
            low, high = fill["boxes"]
            corners = rng.integers(low, high, [*shape[:-1], 2, shape[-1] // 2])
            values = np.sort(corners, axis=-2).reshape(shape)
        elif "mask" in fill:
            values = np.flip(_mask(rng, shape), -1)
        elif "positions" in fill:
            values = np.zeros(shape)  # see placed
        elif "cache" in fill:
            values = rng.standard_normal(shape)
        elif "file" in fill:
            values = fit(_from_file(_files(spec)[0], name), spec, shape, f"inputs.{name}.fill: {fill['file']}")
        elif "image" in fill:
            assert preprocessing is not None
            values = _from_images(_files(spec), shape, preprocessing)
        else:
            values = _from_factory(fill["factory"], name, shape, seed)
    else:
        draws: dict[str, Any] = {
            "uniform": lambda: rng.random(shape),
            "normal": lambda: rng.standard_normal(shape),
            "ones": lambda: np.ones(shape),
            "zeros": lambda: np.zeros(shape),
            "mask": lambda: _mask(rng, shape),
        }
        values = draws[fill]()
    values = np.asarray(values)
    if isinstance(fill, Mapping) and not is_drawn(spec):
        _check(values, name, spec, shape)
    return np.ascontiguousarray(values.astype(spec.dtype)).reshape(shape)


def _check(values: Array, name: str, spec: Input, shape: list[int]) -> None:
    """Raises StageError for outside values of another type or shape: they are not adapted."""
    import numpy as np

    if values.shape != tuple(shape):
        raise StageError(f"inputs.{name}.fill gives {says(values.shape)}, not {says(shape)}")
    if not np.can_cast(values.dtype, spec.dtype, "same_kind"):
        raise StageError(
            f"inputs.{name}.fill gives {values.dtype}, which {spec.dtype} cannot hold",
            command=f"model.inputs.{name}.dtype={values.dtype}, or values of that type",
        )


def fit(values: Array, spec: Input, shape: Sequence[int], origin: str) -> Array:
    """An array of this shape: dynamic dimensions are cut, or repeated from the start. Raises StageError."""
    import numpy as np

    fits = len(values.shape) == len(shape) and all(
        have == want or (axis in spec.axes and have)
        for axis, (have, want) in enumerate(zip(values.shape, shape, strict=True))
    )
    if not fits:
        raise StageError(
            f"{origin} has shape {says(values.shape)}",
            allowed=f"{spec.shape}, as the input says",
            command="another file, or another shape",
        )
    for axis, want in enumerate(shape):
        values = np.take(values, range(want), axis=axis, mode="wrap")
    return values


def _mask(rng: np.random.Generator, shape: list[int]) -> Array:
    import numpy as np

    rows = int(np.prod(shape[:-1]))
    lengths = rng.integers((shape[-1] + 1) // 2, shape[-1] + 1, rows)
    lengths[:1] = shape[-1]
    return (np.arange(shape[-1]) < lengths[:, None]).reshape(shape)


def _from_file(path: Path, name: str) -> Array:
    import numpy as np

    try:
        if path.suffix == ".pt":
            import torch

            content = torch.load(path, map_location="cpu", weights_only=True)
            content = content[name] if isinstance(content, dict) else content
            return np.asarray(content)
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            return np.asarray(loaded)
        with loaded:
            return np.asarray(loaded[name])
    except KeyError as e:
        raise StageError(
            f"inputs.{name}.fill: {path.name} holds no array '{name}'", command=f"save it as {name}=…"
        ) from e
    except Exception as e:  # readers raise anything on a damaged file
        raise StageError(f"inputs.{name}.fill: {path.name} cannot be read: {first_line(e)}") from e


def _from_images(paths: Sequence[Path], shape: list[int], how: Preprocessing) -> Array:
    """One row for each photograph in turn; mirrored from the second round on, so that rows differ."""
    import numpy as np

    size, across = how.size(shape), 2 if how.layout == "NCHW" else 1
    rows = [images.prepared(images.from_file(paths[i % len(paths)]), *size, how) for i in range(shape[0])]
    return np.stack([np.flip(r, across) if i // len(paths) % 2 else r for i, r in enumerate(rows)])


def _from_factory(path: str, name: str, shape: list[int], seed: int) -> Array:
    import numpy as np

    module, _, function = path.rpartition(".")
    try:
        make = getattr(importlib.import_module(module), function)
    except (ImportError, ValueError, AttributeError) as e:
        raise ConfigError(f"inputs.{name}.fill: factory {path} cannot be imported: {e}") from e
    try:
        values = np.asarray(make(shape=list(shape), seed=seed))
    except Exception as e:  # a user's function raises anything
        raise StageError(f"inputs.{name}.fill: factory {path} failed with {type(e).__name__}: {e}") from e
    return values
