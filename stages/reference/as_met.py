"""The cases of a reference as an artifact meets them: in its own names, types, layouts and sizes, where edited."""

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

# Facts of an artifact: the preprocessing of which whoever asks it does the scaling and cutting, before it takes the
# bytes; and that it answers with the scores of one image or text, without a dimension for the batch.
CUT = "cut_before"
SCORES = "classifier"
ENUMERATED = "enumerated"  # by its own name, the shapes that an input may have, where not every size of a range


def of(artifact: Artifact) -> Edits:
    """The edits that an artifact was made with."""
    told = {**asdict(NOTHING), **artifact.facts.get(FACT, {})}
    return Edits(**{**told, "images": Images(**told["images"]) if told["images"] else None})


def case_for(artifact: Artifact, case: Case) -> Case | None:
    """A case of the reference as an artifact meets it; None for one whose sizes or kind it does not take."""
    import numpy as np

    if model_interface.FACT not in artifact.facts:  # a module, which takes what it was asked
        return case
    edits = of(artifact)
    interface = Interface.of(artifact)
    pictured = edits.images.input if edits.images is not None else None
    if pictured is not None and pictured not in case.raw:
        return None
    given: dict[str, Array] = {}
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
            given[edits.name(name)] = _as_bytes(raw, edits.images)
            continue
        spec = interface.inputs[edits.name(name)]
        moved = _transposed(values, edits.permutation(name))
        if not _takes(spec, moved.shape, interface.dims):
            return None
        named = artifact.facts.get(ENUMERATED, {}).get(edits.name(name))
        if named is not None and list(moved.shape) not in named:
            return None
        given[edits.name(name)] = _cast(moved, spec.dtype, name)
    wanted: dict[str, Array] = {}
    exact: dict[str, Array] = {}
    counts: dict[str, Array] = {}
    for name, values in case.outputs.items():  # none, where nothing could be asked
        if name in (edits.outputs or case.outputs):
            dtype = edits.dtypes.get(name, str(values.dtype))
            if told := artifact.facts.get(SCORES):
                values = values.reshape(-1)
                wanted[told["label"]] = np.asarray(told["labels"][int(values.argmax())])
            wanted[edits.name(name)] = _cast(_transposed(values, edits.permutation(name)), dtype, name)
            if name in case.exact:
                exact[edits.name(name)] = _transposed(case.exact[name].reshape(values.shape), edits.permutation(name))
            if name in case.counts:
                counts[edits.name(name)] = _transposed(case.counts[name], edits.permutation(name))
    return Case(case.label, given, wanted, family=case.family, ties=case.ties, exact=exact, counts=counts)


def _cast(values: Array, dtype: str, name: str) -> Array:
    """Values in the artifact's type; floating-point ones are rounded.

    Raises CheckFailed for numbers that do not fit: equal infinities, or whole numbers cut alike, would prove nothing.
    """
    import numpy as np

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
