"""Counts what was really built: weights and operations by type, held to what the precision asked for."""

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
KNOWN = (*graphs.WEIGHTS, *(f"{graphs.SPARSE}{dtype}" for dtype in graphs.WEIGHTS))


class Shares(Each):
    """Of each type by its name, the least share."""

    def __init__(self) -> None:
        super().__init__(Between(0, 1, "a share from 0 to 1"))

    def problems(self, name: str, value: Mapping[str, float]) -> Iterable[Problem]:
        unknown = [Problem(f"{name} names {t}{nearest(t, KNOWN)}", listed(KNOWN, 12)) for t in value if t not in KNOWN]
        return [*unknown, *super().problems(name, value)]


@dataclass(frozen=True)
class Audit(Stage):
    """The share of weights (by number of elements) and of operations with weights (by count) that each type has.

    An operation is int8 when both of its operands were quantised, as runtimes that compute in integers need it;
    weights that are merely stored in few bits are computed with in their operation's own type. What was to be left
    alone by name is counted, and not held to a share. Weights of which only those that are not zero are stored are
    counted apart, as sparse_int8, and meet what is asked of int8. The artifact goes on as it is.

    Args:
        weights: The least share by type, in 0..1; a type that is not named is counted and may have any.
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
        told, meant, forgotten = self._counted(artifact)
        wanted = {"weights": self.weights, "operations": self.operations}
        own: Mapping[str, list[str]] = artifact.facts.get(graphs.ITS_OWN, {})
        lacking = [
            f"{share:.1%} of its {what} are {dtype}, at least {least:.0%} were asked for"
            for what, asked in wanted.items()
            for dtype, least in asked.items()
            if meant[what] and (share := _share(meant[what], dtype, own.get(what, []))) < least
        ]
        says = "; ".join(f"{what} {_shares(counts)}" for what, counts in told.items() if counts)
        if lacking:
            raise CheckFailed(
                f"this {artifact.kind} is not what was asked for: {listed(lacking)}. It has {says}" + forgotten,
                command="another precision, or stages.audit.weights, .operations with what you accept",
            )
        empty = [what for what, asked in wanted.items() if asked and not told[what]]
        if "float32" in self.weights and (kept := [t for t in graphs.its_own(artifact) if t in told["weights"]]):
            says += f"; {listed(kept)} as in the file itself"
        says = says or "neither weights nor operations with weights"
        notes = Notes(says=says, audit=told, claims={"built": told})
        if empty:
            notes["caution"] = f"nothing shows its precision: no {' and no '.join(empty)}"
        elif forgotten:
            notes["caution"] = forgotten.strip("; ")
        return artifact.noting(**notes)

    def _counted(self, artifact: Artifact) -> tuple[Counts, Counts, str]:
        """What there is of each type, the same without what was to be left alone, and what else was left, in words."""
        if artifact.kind in formats.kinds("layers"):
            counts = formats.part(artifact.kind, "layers").layers(artifact)
            layers: Counts = {"weights": {}, "operations": counts}
            return layers, layers, ""
        built = graphs.read(artifact, self.extensions)
        ignored = ignored_operations.from_facts(artifact)
        left = [*(ignored.present(built) if ignored else []), *artifact.facts.get(denominators.FACT, [])]
        told = {"weights": built.weights(), "operations": built.operations()}
        meant = {"weights": built.weights(left), "operations": built.operations(left)}
        return told, meant, self._forgotten(built, left)

    def _forgotten(self, built: NodeGraph, left: Sequence[str]) -> str:
        """The operations whose weights are in no few bits though these were asked for, the largest first."""
        if not set(self.weights) - {*graphs.FLOATS}:
            return ""
        every, head = sum(built.weights().values()), built.head(LOGITS)
        found = sorted(built.holding(graphs.FLOATS, left).items(), key=lambda pair: -pair[1])
        told = [
            f"{'the head ' if name == head else ''}{name} ({built.nodes[name].type}, {count / every:.1%} of all)"
            for name, count in found
            if count >= WORTH * every
        ]
        return f"; weights that are still in floating point: {listed(told)}" if told else ""


def _share(counts: Mapping[str, int], dtype: str, own: Sequence[str]) -> float:
    """The share of a type, with those of its weights that are stored sparse.

    What a file has in fewer bits itself meets float32: nothing would be won by storing it in more.
    """
    met = [dtype, f"{graphs.SPARSE}{dtype}", *(own if dtype == "float32" else ())]
    return sum(counts.get(name, 0) for name in met) / sum(counts.values())


def _shares(counts: Mapping[str, int]) -> str:
    return listed(f"{dtype} {count / sum(counts.values()):.1%}" for dtype, count in counts.items())
