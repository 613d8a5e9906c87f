"""The cases of a reference in an artifact's own names, types, layouts and sizes, where its interface was edited."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Artifact
from pipeline.errors import CheckFailed
from stages.interface import images as photographs
from stages.interface import interface as model_interface
from stages.interface.edits import FACT, NOTHING, Edits, Images
from stages.interface.images import Preprocessing
from stages.interface.interface import Dim, Input, Interface, range_of
from stages.reference.cases import Case

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

# Facts of an artifact: the preprocessing whose scaling and cutting the caller does before the artifact takes the bytes;
# and that it answers with the scores of one image or text, without a dimension for the batch.
CUT = "cut_before"
SCORES = "classifier"
ENUMERATED = "enumerated"  # by input, the only shapes that it may have, where a range does not allow every size


def edits_of(artifact: Artifact) -> Edits:
    """The edits that an artifact was made with."""
    recorded = {**asdict(NOTHING), **artifact.facts.get(FACT, {})}
    return Edits(**{**recorded, "images": Images(**recorded["images"]) if recorded["images"] else None})


def case_for(artifact: Artifact, case: Case) -> Case | None:
    """A case of the reference in an artifact's own terms; None for one whose sizes or kind it does not take."""
    import numpy as np

    if model_interface.FACT not in artifact.facts:  # a module takes the case unchanged
        return case
    edits = edits_of(artifact)
    interface = Interface.read(artifact)
    pictured = edits.images.input if edits.images is not None else None
    if pictured is not None and pictured not in case.raw:
        return None
    inputs: dict[str, Array] = {}
    for name, values in case.inputs.items():
        if name == pictured:
            assert edits.images is not None
            raw = case.raw[name]
            if CUT in artifact.facts:
                batch, height, width, _ = interface.inputs[edits.name(name)].shape
                if len(raw) != batch:
                    return None
                how = Preprocessing(**artifact.facts[CUT])
                raw = np.stack([photographs.cut(photograph, height, width, how) for photograph in raw])
            inputs[edits.name(name)] = _as_bytes(raw, edits.images)
            continue
        spec = interface.inputs[edits.name(name)]
        moved = _transposed(values, edits.permutation(name))
        if not _takes(spec, moved.shape, interface.dims):
            return None
        shapes = artifact.facts.get(ENUMERATED, {}).get(edits.name(name))
        if shapes is not None and list(moved.shape) not in shapes:
            return None
        inputs[edits.name(name)] = _cast(moved, spec.dtype, name)
    outputs: dict[str, Array] = {}
    exact: dict[str, Array] = {}
    left_open = {edits.name(name): errors for name, errors in case.open.items()}
    counts: dict[str, Array] = {}
    for name, values in case.outputs.items():  # none, where the model could not be run
        if name in (edits.outputs or case.outputs):
            dtype = edits.dtypes.get(name, str(values.dtype))
            if classifier := artifact.facts.get(SCORES):
                values = values.reshape(-1)
                outputs[classifier["label"]] = np.asarray(classifier["labels"][int(values.argmax())])
            outputs[edits.name(name)] = _cast(_transposed(values, edits.permutation(name)), dtype, name)
            if name in case.exact:
                exact[edits.name(name)] = _transposed(case.exact[name].reshape(values.shape), edits.permutation(name))
            if name in case.counts:
                counts[edits.name(name)] = _transposed(case.counts[name], edits.permutation(name))
    return Case(case.label, inputs, outputs, {}, case.family, case.ties, exact, left_open, counts)


def _cast(values: Array, dtype: str, name: str) -> Array:
    """Values in the artifact's type; floating-point ones are rounded.

    Raises CheckFailed for numbers that do not fit: equal infinities, or integers that wrap alike, would prove nothing.
    """
    import numpy as np

    if values.dtype == np.dtype(dtype):
        return values
    with np.errstate(over="ignore", invalid="ignore"):
        cast = values.astype(dtype)
        whole = not (values.dtype.kind == cast.dtype.kind == "f")
        fits = (cast.astype(values.dtype) == values) if whole else np.isfinite(cast) | ~np.isfinite(values)
    if not fits.all():
        raise CheckFailed(
            f"edits.dtypes.{name} is {dtype}, which cannot hold what the model takes or answers there",
            allowed=f"a type that holds {values.min()} to {values.max()}" + (", each exactly" if whole else ""),
        )
    return cast


def _as_bytes(raw: Array, images: Images) -> Array:
    """RGB in NHWC, as the reference keeps it, in the order that the artifact takes."""
    import numpy as np

    ordered = raw[..., ::-1] if images.color == "BGR" else raw
    return np.ascontiguousarray(ordered if images.layout == "NHWC" else ordered.transpose(0, 3, 1, 2))


def _transposed(values: Array, permutation: list[int]) -> Array:
    import numpy as np

    return np.ascontiguousarray(values.transpose(permutation)) if permutation else values


def _takes(spec: Input, shape: tuple[int, ...], dims: Mapping[str, Dim]) -> bool:
    return all(
        want is None
        or (range_of(want, dims).min <= have <= range_of(want, dims).max if isinstance(want, str) else have == want)
        for have, want in zip(shape, spec.shape, strict=True)
    )
