"""Requested changes to an artifact's interface: shapes, outputs, names, types, layouts, image inputs.

A compiler applies the edits; the check applies them to the reference, so that an edited artifact is compared with the
same answers. They travel in the facts, under FACT, with the model's names as the keys.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, Optional

from pipeline.errors import ConfigError, Problem, listed, nearest
from pipeline.stage import Each, OneOf, Setting, Settings, Stage
from stages.interface.images import COLORS, LAYOUTS, Preprocessing, unprepared
from stages.interface.interface import DTYPES, Dim, Input, Interface, Name, parts

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

FACT = "edits"
LAYOUT = re.compile(r"([A-Z]+)(?:->([A-Z]+))?")


class Shape(Setting):
    """The new shape of an input."""

    def problems(self, name: str, value: list[Any]) -> Iterable[Problem]:
        allowed = "a number from 1 up, [min, max], the name of a dimension, null for any size"
        return [Problem(f"{name} has {size}", allowed) for size in value if not _is_size(size)][:1]


class Layout(Setting):
    """A layout, or two of the same letters."""

    def problems(self, name: str, value: str) -> Iterable[Problem]:
        was, becomes = _layouts(value)
        if not was or len(set(was)) < len(was) or sorted(was) != sorted(becomes):
            yield Problem(f"{name} is {value}", allowed="NCHW, or NCHW->NHWC: one letter for each dimension")


# Not frozen: OmegaConf makes a frozen dataclass read-only before it has filled its lists.
@dataclass
class Images(Settings):
    """Raw photographs in place of one input: the model's preprocessing is compiled in.

    Args:
        input: The input's name; None for the only one of four dimensions.
        color: The order of the bytes of a pixel: RGB, or BGR as OpenCV reads them.
        layout: NHWC, or NCHW. Height and width may be those of any photograph.
    """

    input: Optional[str] = None
    color: Annotated[str, OneOf(COLORS)] = "RGB"
    layout: Annotated[str, OneOf(LAYOUTS)] = "NHWC"


@dataclass
class Edits(Settings):
    """The changes; empty for none. All keys are the model's own names, also where `names` renames them.

    Args:
        reshape: Input to its shape: a number; [min, max]; the name of a dimension, which keeps its range; null for any.
        outputs: The outputs that stay; None for all.
        names: Input or output to its new name.
        dtypes: Input or output to its type in the artifact, one of interface.DTYPES; converted inside.
        layouts: Input or output to its layout, such as NCHW, a letter for each dimension; with NCHW->NHWC the artifact
            takes or gives it in the second layout.
        images: See Images; None for the model's own inputs.
    """

    reshape: Annotated[dict[str, list[Any]], Each(Shape())]
    outputs: Optional[list[str]]
    names: Annotated[dict[str, str], Each(Name())]
    dtypes: Annotated[dict[str, str], Each(OneOf(DTYPES))]
    layouts: Annotated[dict[str, str], Each(Layout())]
    images: Any  # Images: of an optional dataclass, Hydra cannot take the place of null on a command line

    def __post_init__(self) -> None:
        if isinstance(self.images, dict) and self.images.keys() <= {f.name for f in fields(Images)}:
            self.images = Images(**self.images)

    def conflicts(self) -> Iterator[Problem]:
        if len(set(self.names.values())) < len(self.names):
            yield Problem(f"names gives one name twice: {listed(self.names.values())}")
        if self.outputs is not None and (not self.outputs or len(set(self.outputs)) < len(self.outputs)):
            yield Problem(f"outputs is {self.outputs}", "one output or more, each once; null for all")
        if not isinstance(self.images, Images | None):
            allowed = f"null, or a mapping of {listed(f.name for f in fields(Images))}"
            yield Problem(f"images is {self.images}", allowed)

    def on(self, interface: Interface) -> Edits:
        """The same edits, with the input of `images` found. Raises ConfigError for what this model does not have."""
        inputs, outputs = list(interface.inputs), list(interface.outputs)
        for key, named_here, existing in (
            ("reshape", self.reshape, inputs),
            ("outputs", self.outputs or (), outputs),
            *((key, getattr(self, key), [*inputs, *outputs]) for key in ("names", "dtypes", "layouts")),
        ):
            if unknown := [name for name in named_here if name not in existing]:
                what = "output" if key == "outputs" else "input" if key == "reshape" else "input or output"
                raise ConfigError(
                    f"edits.{key} names '{unknown[0]}', which is no {what}{nearest(unknown[0], existing)}",
                    allowed=listed(existing),
                )
        for name, layout in self.layouts.items():
            rank = len((interface.inputs.get(name) or interface.outputs[name]).shape)
            if len(_layouts(layout)[0]) != rank:
                raise ConfigError(f"edits.layouts.{name} is {layout}, and it has {rank} dimensions")
        for name, shape in self.reshape.items():
            _check_shape(name, shape, interface)
        for name, dtype in self.dtypes.items():
            was = (interface.inputs.get(name) or interface.outputs[name]).dtype
            if was.startswith("float") and not dtype.startswith("float"):
                raise ConfigError(
                    f"edits.dtypes.{name} is {dtype}, which cannot hold {was}",
                    allowed="a floating-point type; edits.images for photographs",
                )
        renamed = [self.name(n) for n in (*inputs, *(self.outputs or outputs))]
        if twice := [n for n in renamed if renamed.count(n) > 1]:
            raise ConfigError(f"edits.names makes two of one name: '{twice[0]}'", allowed="a name of its own for each")
        if self.images is None:
            return self
        return replace(self, images=replace(self.images, input=self._pictured(self.images, interface)))

    def _pictured(self, images: Images, interface: Interface) -> str:
        """The input that photographs replace."""
        fitting = [
            n
            for n, s in interface.inputs.items()
            if len(s.shape) == 4 and s.dtype.startswith("float") and sum(isinstance(d, int) for d in s.shape[1:]) == 3
        ]
        chosen = [n for n in fitting if images.input in (None, n)]
        edited = [n for n in chosen if n in {*self.reshape, *self.dtypes, *self.layouts}]
        if len(chosen) != 1 or edited:
            raise ConfigError(
                f"edits.images.input is {images.input}; its reshape, dtype and layout are the photographs'"
                if edited
                else f"edits.images.input is {images.input}",
                allowed=listed(fitting) or "a floating-point input of four dimensions with fixed height and width",
                command=f"'stages.compile.edits.images={{input: {fitting[0]}}}'" if fitting else "",
            )
        return chosen[0]

    def name(self, name: str) -> str:
        """The artifact's name of an input or output of the model."""
        return self.names.get(name, name)

    def permutation(self, name: str) -> list[int]:
        """For each dimension of the artifact's tensor, its index in the model's; empty where the order is the same."""
        was, becomes = _layouts(self.layouts.get(name, ""))
        return [] if was == becomes else [was.index(letter) for letter in becomes]

    def edited(self, interface: Interface) -> Interface:
        """The artifact's interface."""
        dims = dict(interface.dims)
        inputs = {}
        for name, spec in interface.inputs.items():
            if self.images is not None and name == self.images.input:
                shape = [spec.shape[0], *([None, None, 3] if self.images.layout == "NHWC" else [3, None, None])]
                inputs[self.name(name)] = Input(shape, "uint8")
                continue
            shape = []
            for axis, size in enumerate(self.reshape.get(name, spec.shape)):
                if isinstance(size, list):
                    (low, high), size = size, f"{name}_{axis}"
                    while size in dims:
                        size += "_"
                    dims[size] = Dim(low, low, high)
                shape.append(size)
            inputs[self.name(name)] = Input(self._moved(name, shape), self.dtypes.get(name, spec.dtype))
        outputs = {
            self.name(n): replace(o, shape=self._moved(n, o.shape), dtype=self.dtypes.get(n, o.dtype))
            for n, o in interface.outputs.items()
            if n in (self.outputs or interface.outputs)
        }
        used = {d for s in inputs.values() for d in s.names}
        for output in outputs.values():  # dimensions that followed one that is fixed now
            output.shape = [None if isinstance(d, str) and not used.issuperset(parts(d)) else d for d in output.shape]
        return Interface(inputs, {n: d for n, d in dims.items() if n in used}, outputs, interface.call)

    def _moved(self, name: str, shape: list[Any]) -> list[Any]:
        return [shape[i] for i in self.permutation(name)] or shape

    @property
    def facts(self) -> dict[str, Any]:
        """The facts of an artifact: none when nothing is edited."""
        changes = {k: v for k, v in asdict(self).items() if v}
        return {FACT: changes} if changes else {}


NOTHING = Edits({}, None, {}, {}, {}, None)


class Edited(Stage):
    """A stage that edits an interface. Its preprocessing is used only with edits.images.

    This is no dataclass: a stage has these two among its own settings, in its own order.
    """

    edits: Edits
    preprocessing: Optional[Preprocessing]

    def unused(self) -> Collection[str]:
        return () if self.edits.images is not None else ("preprocessing",)

    def conflicts(self) -> Iterator[Problem]:
        if isinstance(self.edits.images, Images) and self.preprocessing is None:
            wrong = "edits.images asks for raw photographs, and the model does not say how they become its input"
            yield unprepared(wrong)


def _check_shape(name: str, shape: list[Any], interface: Interface) -> None:
    spec = interface.inputs[name]
    if len(shape) != len(spec.shape):
        raise ConfigError(f"edits.reshape.{name} is {shape}, and the input has {len(spec.shape)} dimensions")
    if unknown := [d for size in shape if isinstance(size, str) for d in parts(size) if d not in interface.dims]:
        raise ConfigError(
            f"edits.reshape.{name} names '{unknown[0]}', which is no dimension{nearest(unknown[0], interface.dims)}",
            allowed=listed(interface.dims) or "numbers, [min, max], null: the model has no dynamic dimension",
        )


def _is_size(size: Any) -> bool:
    if isinstance(size, list):
        return len(size) == 2 and all(type(n) is int for n in size) and 0 < size[0] < size[1]
    return size is None or isinstance(size, str) or (type(size) is int and size > 0)


def _layouts(text: str) -> tuple[str, str]:
    """The model's layout and the artifact's; empty for a text that is no layout."""
    if not (match := LAYOUT.fullmatch(text)):
        return "", ""
    return match[1], match[2] or match[1]
