"""A Core ML model's inputs and outputs, derived from a model's interface: names, types, bounded shapes, images."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.errors import CheckFailed, ConfigError, Problem, listed
from pipeline.stage import Setting
from stages.coreml import library as coreml_library
from stages.coreml.mil import schema
from stages.interface import interface as model_interface
from stages.interface.edits import Edits, Images
from stages.interface.interface import Dim, Input, Interface, Output, range_of
from stages.reference import artifact_cases

SHAPES = ("range", "enumerated")
MOST = 128  # enumerated shapes of one input, in Core ML
# Reserved words of the language of ML Programs. Source: coremltools' NameSanitizer.
RESERVED = {
    *("any", "bool", "program", "func", "tensor", "list", "dict", "tuple", "true", "false", "string", "state"),
    *("bf16", "fp16", "fp32", "fp64", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))),
}


@dataclass(frozen=True)
class Sizes:
    """How Core ML gets dynamic dimensions.

    Args:
        shapes: range, each dimension from its min to its max; or enumerated, only the chosen sizes.
        chosen: For enumerated: the combinations of sizes; None for those that the model is checked at.
    """

    shapes: str
    chosen: Sequence[Mapping[str, int]] | None

    def combinations(self, interface: Interface) -> list[dict[str, int]]:
        """The combinations of sizes to enumerate, the usual one first. Raises ConfigError."""
        dims = interface.dims
        usual = {name: dim.opt for name, dim in dims.items()}
        if self.chosen is None:
            combinations = [usual, *model_interface.cases(dims).values()]
        else:
            combinations = [dict(sizes) for sizes in self.chosen]
        for sizes in combinations:
            if sizes.keys() != dims.keys() or any(sizes[d] not in dims[d].sizes for d in dims):
                raise ConfigError(
                    f"sizes has {sizes}",
                    allowed=listed(f"{n} from {d.min} to {d.max}" for n, d in dims.items()) or "no dynamic dimension",
                )
        distinct = [s for i, s in enumerate(combinations) if s not in combinations[:i]]
        if len(distinct) > MOST:
            raise ConfigError(f"sizes names {len(distinct)} shapes", allowed=f"{MOST}, which Core ML enumerates")
        return distinct


class Editable(Setting):
    """Edits that Core ML supports, for any model."""

    def problems(self, name: str, value: Edits) -> Iterable[Problem]:
        if value.outputs is not None:
            command = "model.outputs, which says which of them the model has"
            yield Problem(f"{name}.outputs is {value.outputs}", "null: all of them", command)
        if isinstance(value.images, Images) and value.images.layout != "NHWC":
            wrong = f"{name}.images.layout is {value.images.layout}, and Core ML's images have none to choose"
            yield Problem(wrong, allowed="NHWC")
        if value.layouts:
            command = "target=openvino, or a model that takes the other layout"
            yield Problem(f"{name}.layouts is {value.layouts}", "{}: the model's own", command)


def edits_for(interface: Interface, requested: Edits, target: str, *, singly: bool = False) -> Edits:
    """The requested edits, and those that Core ML needs: replacements for types that it does not have.

    Args:
        interface: The model's.
        requested: The edits that a person requested.
        target: The deployment target.
        singly: Whether the package takes one image or text at a time, so that batches have size 1.

    Raises:
        ConfigError: For an input or output that Core ML cannot have, and a type that the deployment target lacks.
    """
    edits = requested.on(interface)
    dtypes = dict(edits.dtypes)
    ports: dict[str, Input | Output] = {**interface.inputs, **interface.outputs}
    for name, port in ports.items():
        _verify_name(name, edits.name(name))
        if not port.shape and name in interface.inputs:
            raise ConfigError(
                f"input '{name}' is a scalar, and Core ML takes none",
                allowed="a shape of one dimension or more",
                command=f"'model.inputs.{name}.shape=[1]', and a model that takes it",
            )
        dtype = dtypes.get(name, port.dtype)
        if name in edits.dtypes and dtype not in coreml_library.TYPES:
            raise ConfigError(f"edits.dtypes.{name} is {dtype}", allowed=listed(coreml_library.TYPES))
        if stand_in := coreml_library.STAND_INS.get(dtype):
            dtype = dtypes[name] = stand_in
        if dtype == "float16" and not coreml_library.has(target, "iOS16"):
            raise ConfigError(coreml_library.lacks(target, "iOS16", f"'{name}' in float16"))
    unbounded = [n for n, shape in edits.reshape.items() if None in shape]
    if unbounded:
        raise ConfigError(
            f"edits.reshape.{unbounded[0]} leaves a dimension open",
            allowed="a number, or [min, max], of each dimension",
        )
    reshape = dict(edits.reshape)
    if singly or edits.images is not None:
        for name, spec in interface.inputs.items():
            if edits.images is None or name != edits.images.input:
                first, *rest = reshape.get(name, spec.shape)
                reshape[name] = [1 if isinstance(first, str) else first, *rest]
    return replace(edits, dtypes=dtypes, reshape=reshape)


def _verify_name(name: str, called: str) -> None:
    """Raises ConfigError for a name that a package cannot have."""
    if re.fullmatch(r"[A-Za-z_]\w*", called, re.ASCII) and called not in RESERVED:
        return
    fitting = re.sub(r"\W", "_", called, flags=re.ASCII)
    fitting = f"{fitting}_" if fitting in RESERVED else f"_{fitting}" if fitting[:1].isdigit() else fitting
    raise ConfigError(
        f"'{called}' is {'a word of' if called in RESERVED else 'no name in'} Core ML's language",
        allowed="letters, digits and underscores, no digit first, and no word such as tensor, string or int32",
        command=f"'+stages.compile.edits.names={{{name}: {fitting}}}'",
    )


def inputs(interface: Interface, edits: Edits, edited: Interface, sizes: Sizes, target: str) -> list[Any]:
    """coremltools' TensorType or ImageType of each input of the package.

    Args:
        interface: The model's.
        edits: The differences between the model's interface and the package's.
        edited: The package's.
        sizes: How Core ML gets dynamic dimensions.
        target: The deployment target.

    Raises:
        ConfigError: For a feature that the target does not have.
    """
    ct = coreml_library.load()
    dynamic = [name for name, spec in edited.inputs.items() if spec.axes]
    if sizes.shapes == "enumerated" and len(dynamic) > 1 and not coreml_library.has(target, "iOS18"):
        what = f"enumerated shapes of {len(dynamic)} inputs: {listed(dynamic)}"
        raise ConfigError(coreml_library.lacks(target, "iOS18", what))
    # One object for each dimension: coremltools takes sizes of two inputs as equal if they are the same object.
    dims = {size: range_of(size, edited.dims) for spec in edited.inputs.values() for size in spec.axes.values()}
    ranges = {n: ct.RangeDim(lower_bound=d.min, upper_bound=d.max, default=d.opt) for n, d in dims.items()}
    combinations = sizes.combinations(edited) if sizes.shapes == "enumerated" and dynamic else []

    def shape(spec: Input) -> Any:
        if combinations and spec.axes:
            shapes = [spec.at(at) for at in combinations]
            if len(dynamic) == 1:
                shapes = [s for i, s in enumerate(shapes) if s not in shapes[:i]]
            return ct.EnumeratedShapes(shapes=shapes, default=shapes[0])
        return ct.Shape([ranges[d] if isinstance(d, str) else d for d in spec.shape])

    types = []
    for model_name, (name, spec) in zip(interface.inputs, edited.inputs.items(), strict=True):
        if edits.images is not None and model_name == edits.images.input:
            batch, height, width, channels = spec.shape
            color = getattr(ct.colorlayout, edits.images.color)
            types.append(ct.ImageType(name=name, shape=(batch, channels, height, width), color_layout=color))
        else:
            dtype = _type(interface.inputs[model_name], spec.dtype)
            types.append(ct.TensorType(name=name, shape=shape(spec), dtype=dtype))
    return types


def _type(model: Input, dtype: str) -> Any:
    """The type for coremltools. For a bool it is bool, so that coremltools casts its replacement back."""
    import numpy as np

    return np.bool_ if model.dtype == "bool" else np.dtype(dtype).type


def enumerated(edited: Interface, sizes: Sizes) -> dict[str, Any]:
    """The fact with the shapes that inputs may have, where they are enumerated; none where they are not."""
    if sizes.shapes != "enumerated":
        return {}
    combinations = sizes.combinations(edited)
    return {
        artifact_cases.ENUMERATED: {
            n: [spec.at(at) for at in combinations] for n, spec in edited.inputs.items() if spec.axes
        }
    }


def outputs(edited: Interface) -> list[Any]:
    """coremltools' TensorType of each output, always with a type: else coremltools chooses it by the precision."""
    import numpy as np

    ct = coreml_library.load()
    return [ct.TensorType(name=name, dtype=np.dtype(output.dtype).type) for name, output in edited.outputs.items()]


def verify(spec: Any, interface: Interface, sizes: Sizes) -> str:
    """Verifies the names, types and sizes of a model. Returns them in words.

    Raises:
        CheckFailed: Where one differs from the interface.
    """
    for what, ports, expected in (
        ("inputs", spec.description.input, list(interface.inputs)),
        ("outputs", spec.description.output, list(interface.outputs)),
    ):
        label = spec.description.predictedFeatureName
        if (names := [p.name for p in ports if p.name != label or not label]) != expected:
            raise CheckFailed(f"the package's {what} are {listed(names)}; asked for were {listed(expected)}")
    says = []
    for port in (*spec.description.input, *spec.description.output):
        input_spec = interface.inputs.get(port.name)
        if port.type.WhichOneof("Type") == "imageType":
            says.append(f"{port.name} {port.type.imageType.width}x{port.type.imageType.height} image")
            continue
        if port.name in (spec.description.predictedFeatureName, spec.description.predictedProbabilitiesName):
            continue
        spec_of_port = input_spec or interface.outputs[port.name]
        if (dtype := schema.dtype(port.type.multiArrayType)) != spec_of_port.dtype:
            raise CheckFailed(f"'{port.name}' was asked for as {spec_of_port.dtype} and is {dtype}")
        if input_spec is not None:
            _verify_sizes(port, input_spec, interface, sizes)
            says.append(f"{port.name} {listed(map(str, _bounds(port)))} {dtype}")
    return "; ".join(says)


def _verify_sizes(port: Any, spec: Input, interface: Interface, sizes: Sizes) -> None:
    if sizes.shapes == "enumerated" and spec.axes:
        shapes = {tuple(s.shape) for s in port.type.multiArrayType.enumeratedShapes.shapes}
        expected = {tuple(spec.at(at)) for at in sizes.combinations(interface)}
        if shapes != expected:
            raise CheckFailed(f"input '{port.name}' was asked for at {sorted(expected)} and has {sorted(shapes)}")
        return
    dims = interface.dims
    spans = [range_of(d, dims) if isinstance(d, str) else Dim(d, d, d) for d in spec.shape]
    bounds = [(dim.min, dim.max) for dim in spans]
    if (actual := _bounds(port)) != [low if low == high else f"{low}..{high}" for low, high in bounds]:
        raise CheckFailed(f"input '{port.name}' was asked for as {spec.shape} and is {actual}")


def _bounds(port: Any) -> list[Any]:
    """The sizes of a multi-array: for each dimension a number, or a range such as "1..8"."""
    array = port.type.multiArrayType
    if array.WhichOneof("ShapeFlexibility") == "shapeRange":
        return [
            r.lowerBound if r.lowerBound == r.upperBound else f"{r.lowerBound}..{r.upperBound}"
            for r in array.shapeRange.sizeRanges
        ]
    return list(array.shape)
