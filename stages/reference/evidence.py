"""Whether a comparison proves enough: several sizes of each dimension that edits made free, outputs that vary."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from pipeline.artifact import Artifact
from pipeline.errors import CheckFailed, listed
from stages.interface.edits import Edits
from stages.interface.interface import Interface, range_of
from stages.portable import comparison
from stages.reference import artifact_cases
from stages.reference.cases import Case

RECORD = "'stages.reference.shapes=[{INPUT: [SIZES]}]' records a case of these sizes"
Axis = tuple[str, int]  # of the model: an input and a dimension
Span = tuple[int, int] | None  # the smallest and the largest size; None for any


def demand(artifact: Artifact, reference: Artifact, cases: Sequence[Case], adapted: Sequence[Case]) -> None:
    """Fails a comparison that covers too little.

    Args:
        artifact: What was compared.
        reference: With the interface of the model, before any edit.
        cases: The cases of the reference that the artifact takes, in the model's terms.
        adapted: The same cases in the artifact's terms.

    Raises:
        CheckFailed: Without a case; where a dimension that an edit made free was not compared at the ends of its range,
            at two sizes at least, or only together with another; where no output depends on the inputs.
    """
    edits = artifact_cases.edits_of(artifact)
    if not cases:
        raise CheckFailed(
            f"the reference has no case that this {artifact.kind} takes, so nothing was compared",
            command="also=image records photographs" if edits.images is not None else RECORD,
        )
    if edits.reshape:
        _demand_sizes(edits, Interface.read(reference), cases)
    outputs = {n: [c.outputs[n] for c in adapted] for n in adapted[0].outputs}
    if outputs and all(map(comparison.is_blind, outputs.values())):
        raise CheckFailed(
            f"{listed(outputs)}: the same for every input, so comparing them proves nothing",
            allowed="at least one output that depends on the inputs",
            command="another stages.compile.edits.outputs",
        )


def _demand_sizes(edits: Edits, model: Interface, cases: Sequence[Case]) -> None:
    free = loosened(edits, model)
    sizes = {axis: [c.inputs[axis[0]].shape[axis[1]] for c in cases] for axis in free}
    if lacking := [*_ends(free, sizes), *_together(free, sizes, model)]:
        raise CheckFailed(
            f"an edit let sizes free that were not compared: {listed(lacking, 3)}",
            allowed="each end of a range, two sizes where any is allowed, and each by itself: a graph may have the "
            "example's sizes baked in",
            command=f"'stages.reference.shapes=[{listed(_shapes(free, model), 8)}]'",
        )


def loosened(edits: Edits, model: Interface) -> dict[Axis, Span]:
    """The dimensions that may have sizes which the model does not allow, and their new ranges."""
    free: dict[Axis, Span] = {}
    for name, shape in edits.reshape.items():
        for axis, (size, was) in enumerate(zip(shape, model.inputs[name].shape, strict=True)):
            if isinstance(size, int) or size == was:
                continue
            dim = range_of(size, model.dims) if isinstance(size, str) else None
            ends = (dim.min, dim.max) if dim else (size[0], size[1]) if isinstance(size, list) else None
            before = range_of(was, model.dims) if isinstance(was, str) else None
            if not (ends and before and before.min <= ends[0] and ends[1] <= before.max):
                free[name, axis] = ends
    return free


def _ends(free: Mapping[Axis, Span], sizes: Mapping[Axis, Sequence[int]]) -> Iterator[str]:
    for (name, axis), span in free.items():
        compared = set(sizes[name, axis])
        if span is None and len(compared) < 2:
            yield f"dimension {axis} of '{name}' at any size but {listed(map(str, compared))}"
        elif span is not None and not compared >= {*span}:
            yield f"dimension {axis} of '{name}' at {listed(str(n) for n in span if n not in compared)}"


def _together(free: Mapping[Axis, Span], sizes: Mapping[Axis, Sequence[int]], model: Interface) -> Iterator[str]:
    """Dimensions that only changed together with another: a fixed ratio of the two would go unnoticed."""
    for one, other in itertools.permutations(free, 2):
        was, as_well = (model.inputs[name].shape[axis] for name, axis in (one, other))
        if isinstance(was, str) and was == as_well:  # one dimension of the model's
            continue
        pairs = list(zip(sizes[one], sizes[other], strict=True))
        if not any(a[0] != b[0] and a[1] == b[1] for a, b in itertools.combinations(pairs, 2)):
            yield f"dimension {one[1]} of '{one[0]}' changed only along with dimension {other[1]} of '{other[0]}'"


def _shapes(free: Mapping[Axis, Span], model: Interface) -> list[str]:
    """Possible cases: the shape of the example, with one dimension at an end of its range."""
    example = {n: d.example for n, d in model.dims.items()}
    shapes = []
    for (name, axis), span in free.items():
        shape = model.inputs[name].at(example)
        for size in span or (2 * shape[axis],):
            if size != shape[axis]:
                shapes.append(f"{{{name}: {[*shape[:axis], size, *shape[axis + 1 :]]}}}")
    return shapes
