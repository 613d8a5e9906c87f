"""Counts an artifact's weights and operations by type, and compares their shares with what the precision asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from pipeline import formats
from pipeline.artifact import Artifact, Kind
from pipeline.errors import CheckFailed, Problem, listed, nearest
from pipeline.notes import Notes
from pipeline.stage import Between, Each, Stage
from stages.formats import denominators, graphs
from stages.formats import ignored as ignored_operations
from stages.formats.extensions import Extensions
from stages.formats.graphs import NodeGraph

LOGITS = "logits"  # what a language model's head gives
WORTH = 0.01  # of all weights: what is less is not worth a word
Counts = Mapping[str, Mapping[str, int]]
TYPES = (*graphs.WEIGHTS, *(f"{graphs.SPARSE}{dtype}" for dtype in graphs.WEIGHTS))


class Shares(Each):
    """The least share of each type, by the type's name."""

    def __init__(self) -> None:
        super().__init__(Between(0, 1, "a share from 0 to 1"))

    def problems(self, name: str, value: Mapping[str, float]) -> Iterable[Problem]:
        unknown = [Problem(f"{name} names {t}{nearest(t, TYPES)}", listed(TYPES, 12)) for t in value if t not in TYPES]
        return [*unknown, *super().problems(name, value)]


@dataclass(frozen=True)
class Audit(Stage):
    """The share of weights (by number of elements) and of operations with weights (by count) that each type has.

    An operation is int8 when both of its operands were quantised, as runtimes that compute in integers need it;
    weights that are only stored in few bits are computed in their operation's own type. Operations that were left out
    by name are counted, and need no share. Weights stored without their zeros are counted apart, as sparse_int8, and
    count as int8. The artifact passes through unchanged.

    Args:
        weights: The least share by type, in 0..1; a type that is not listed is counted and may have any share.
        operations: Likewise.
        extensions: Operations that OpenVINO does not have by itself; see compile_openvino.
    """

    weights: Annotated[dict[str, float], Shares()]
    operations: Annotated[dict[str, float], Shares()]
    extensions: Annotated[list[str], Extensions()]

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"artifact": graphs.kinds() | formats.kinds("layers")}
    produces: ClassVar[Kind | str] = "artifact"
    isolable: ClassVar[bool] = True

    def modules(self, kinds: Mapping[str, Kind]) -> tuple[str, ...]:
        kind = kinds.get("artifact")
        return graphs.modules(kind) if kind in graphs.kinds() else ()

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        artifact = inputs["artifact"]
        counted, counting, forgotten = self._counted(artifact)
        minimums = {"weights": self.weights, "operations": self.operations}
        own: Mapping[str, list[str]] = artifact.facts.get(graphs.ITS_OWN, {})
        lacking = [
            f"{share:.1%} of its {what} are {dtype}, at least {least:.0%} were asked for"
            for what, by_type in minimums.items()
            for dtype, least in by_type.items()
            if counting[what] and (share := _share(counting[what], dtype, own.get(what, []))) < least
        ]
        says = "; ".join(f"{what} {_shares(counts)}" for what, counts in counted.items() if counts)
        if lacking:
            raise CheckFailed(
                f"this {artifact.kind} is not what was asked for: {listed(lacking)}. It has {says}" + forgotten,
                command="another precision, or stages.audit.weights, .operations with what you accept",
            )
        empty = [what for what, by_type in minimums.items() if by_type and not counted[what]]
        if "float32" in self.weights and (native := [t for t in graphs.its_own(artifact) if t in counted["weights"]]):
            says += f"; {listed(native)} as in the file itself"
        says = says or "neither weights nor operations with weights"
        notes = Notes(says=says, audit=counted, claims={"built": counted})
        if empty:
            notes["caution"] = f"nothing shows its precision: no {' and no '.join(empty)}"
        elif forgotten:
            notes["caution"] = forgotten.strip("; ")
        return artifact.noting(**notes)

    def _counted(self, artifact: Artifact) -> tuple[Counts, Counts, str]:
        """Counts by type; the counts without ignored operations; and a text on other weights that are still floats."""
        if artifact.kind in formats.kinds("layers"):
            counts = formats.part(artifact.kind, "layers").layers(artifact)
            layers: Counts = {"weights": {}, "operations": counts}
            return layers, layers, ""
        built = graphs.read(artifact, self.extensions)
        ignored = ignored_operations.from_facts(artifact)
        excluded = [*(ignored.present(built) if ignored else []), *artifact.facts.get(denominators.FACT, [])]
        counts = {"weights": built.weights(), "operations": built.operations()}
        counting = {"weights": built.weights(excluded), "operations": built.operations(excluded)}
        return counts, counting, self._forgotten(built, excluded)

    def _forgotten(self, built: NodeGraph, excluded: Sequence[str]) -> str:
        """The operations whose weights are still floats where fewer bits were asked for, the largest first."""
        if not set(self.weights) - {*graphs.FLOATS}:
            return ""
        every, head = sum(built.weights().values()), built.head(LOGITS)
        floats = sorted(built.holding(graphs.FLOATS, excluded).items(), key=lambda pair: -pair[1])
        names = [
            f"{'the head ' if name == head else ''}{name} ({built.nodes[name].type}, {count / every:.1%} of all)"
            for name, count in floats
            if count >= WORTH * every
        ]
        return f"; weights that are still in floating point: {listed(names)}" if names else ""


def _share(counts: Mapping[str, int], dtype: str, own: Sequence[str]) -> float:
    """The share of a type, its sparse weights included.

    Weights that the file itself has in fewer bits count as float32: storing them in more would gain nothing.
    """
    fitting = [dtype, f"{graphs.SPARSE}{dtype}", *(own if dtype == "float32" else ())]
    return sum(counts.get(name, 0) for name in fitting) / sum(counts.values())


def _shares(counts: Mapping[str, int]) -> str:
    return listed(f"{dtype} {count / sum(counts.values()):.1%}" for dtype, count in counts.items())
