"""Optimisation profiles: the sizes that an engine is built for, given for a model's dynamic dimensions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pipeline.errors import Problem, StageError, listed, nearest
from pipeline.stage import Setting
from stages.interface.interface import Interface

ProfileSizes = Sequence[Mapping[str, Sequence[int]]] | None
Spans = dict[str, list[list[int]]]


class Profiles(Setting):
    """Profiles that an engine can have, for any model."""

    def problems(self, name: str, value: Sequence[Mapping[str, Sequence[int]]]) -> Iterable[Problem]:
        allowed = "[smallest, usual, largest] of a dimension, each 1 or more: '[{batch: [1, 4, 16]}]'"
        if not value:
            yield Problem(f"{name} is empty", allowed=f"null for the model's own sizes, or {allowed}")
        for dim, sizes in (item for profile in value for item in profile.items()):
            if len(sizes) != 3 or not 0 < sizes[0] <= sizes[1] <= sizes[2]:
                yield Problem(f"{name} has {dim}: {list(sizes)}", allowed)


def resolve(profiles: ProfileSizes, interface: Interface) -> list[Spans]:
    """For each profile, the smallest, usual and largest shape of each input; empty without dynamic dimensions.

    A dimension that a profile does not name has the model's own sizes. Without profiles, all dimensions have these.

    Raises:
        StageError: For a dimension that the model does not have, or sizes that it was not checked at.
    """
    dims = {name: (d.min, d.opt, d.max) for name, d in interface.dims.items()}
    spans = []
    for profile in profiles or ([{}] if dims else []):
        for name, sizes in profile.items():
            if name not in dims:
                raise StageError(
                    f"profiles names '{name}', which is no dynamic dimension of the model{nearest(name, dims)}",
                    allowed=listed(dims) or "none: all of its sizes are fixed",
                )
            least, _, most = dims[name]
            if sizes[0] < least or sizes[2] > most:
                raise StageError(
                    f"profiles has {name}: {list(sizes)}, and the model is checked at {least} to {most}",
                    allowed="sizes between min and max of model.dims: beyond them its outputs are not checked",
                    command=f"model.dims.{name}.min={sizes[0]} model.dims.{name}.max={sizes[2]}",
                )
        sizes_of = {**dims, **{name: tuple(sizes) for name, sizes in profile.items()}}
        spans.append(
            {
                name: [spec.at({d: sizes_of[d][place] for d in sizes_of}) for place in range(3)]
                for name, spec in interface.inputs.items()
                if spec.axes
            }
        )
    return spans
