"""Which layers cause an error: compares a lowered graph with its source, layer by layer."""

from __future__ import annotations

import json
import logging
import math
import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline import formats
from pipeline.artifact import Artifact
from pipeline.errors import listed
from pipeline.notes import Notes
from stages.formats import graphs, ignored
from stages.formats.graphs import NodeGraph
from stages.formats.session import How

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]
    Arrays = Mapping[str, Array]

log = logging.getLogger(__name__)

AT_ONCE = 64  # layers whose values are held in memory together
TRIED = 32  # layers that are tried one by one: those whose own values are furthest off
MOST = 10  # layers that are named
# A layer that brings in less than this share of what the worst one does is not what broke the artifact.
WORTH = 0.25
# A layer that overflows does no harm where the answers are off by less than this for it: the mask -3e38 is as good at
# -65504.
HARM = 0.01
# What Hydra reads as something else than a text.
WORDS = ("true", "false", "null", "nan", "inf")


class BlameNotes(Notes, total=False):
    """Notes with the layers that cause the error, and the stage that reduced them."""

    blame: Mapping[str, Any]


@dataclass(frozen=True)
class Layer:
    """The effect of a layer on the error.

    Args:
        name: As the graph has it.
        type: The type, by the format's own name.
        error: The relative error (norm of the difference over the norm) of its values where its inputs are exact;
            infinite where they overflow.
        brought: The relative error of the graph's outputs where only this layer is lowered; infinite also where the
            layer overflows and the outputs show it.
    """

    name: str
    type: str
    error: float
    brought: float


@dataclass(frozen=True)
class Blamed:
    """The layers that cause most of the error, the worst first, and how to leave them out.

    Args:
        layers: Empty where no layer changed.
        stage: The name of the stage that lowered them.
        already: The operations that the stage's settings leave out by name already.
    """

    layers: Sequence[Layer]
    stage: str
    already: Sequence[str]

    @property
    def sentence(self) -> str:
        """For the message of a failed check."""
        names = listed((f"{e.name} ({e.type}, {_share(e.brought)})" for e in self.layers), MOST)
        return f"\n    brought in by {names}" if names else "\n    no layer by itself brings the error in"

    @property
    def command(self) -> str:
        """The setting that leaves these layers out, for the command line and for YAML."""
        if not self.layers:
            return "a higher precision"
        names = [*self.already, *(e.name for e in self.layers)]
        typed = shlex.quote(f"stages.{self.stage}.ignored.names=[{','.join(map(_typed, names))}]")
        pasted = ", ".join(json.dumps(n, ensure_ascii=False) for n in names)
        return f"{typed}\n  or YAML: stages: {{{self.stage}: {{ignored: {{names: [{pasted}]}}}}}}"

    @property
    def notes(self) -> BlameNotes:
        """For the run's record."""
        # JSON has no infinity.
        plain = [{**vars(e), "error": _plain(e.error), "brought": _plain(e.brought)} for e in self.layers]
        return BlameNotes(blame={"stage": self.stage, "layers": plain})


def layers(
    artifact: Artifact,
    inputs: Arrays,
    compute: str,
    extensions: Sequence[str] = (),
    *,
    overflowing: bool = False,
    output: str | None = None,
) -> Blamed | None:
    """The layers of an artifact that cause most of its error.

    None where it has no fewer bits than its source, or where the two cannot be run layer by layer.

    Args:
        artifact: As the runner hands it to a stage, with its origin.
        inputs: Arrays that it takes, by name.
        compute: The type that an IR computes in.
        extensions: Operations that OpenVINO does not have by itself.
        overflowing: Whether to look only for layers whose values do not fit their type and change the outputs. Then
            what a runtime raises reaches the caller.
        output: The output to compare; None for all outputs.
    """
    origin = artifact.origin
    if origin is None or origin.source is None or (excluded := ignored.from_facts(artifact)) is None:
        return None
    try:
        source = origin.source()
        if source.kind != artifact.kind or artifact.kind not in formats.kinds("values"):
            return None
        if overflowing and not _may_overflow(source, artifact, inputs):
            return None
        how = How(compute, None, {}, extensions)
        changed = _measured(source, artifact, inputs, how, overflowing=overflowing, output=output)
    except Exception:  # runtimes raise anything, and what failed must not be hidden by what was to explain it
        if overflowing:  # this search is a check of its own, and the caller must say that it was not done
            raise
        log.info("the layers cannot be compared", exc_info=True)
        return None
    changed.sort(key=lambda e: e.brought, reverse=True)
    least = math.inf if overflowing else WORTH * (changed[0].brought if changed else 0.0)
    worst = [e for e in changed if e.brought > 0 and e.brought >= least]
    # Leaving out only some of the layers that overflow would not help.
    return Blamed(worst[: max(MOST, sum(math.isinf(e.brought) for e in worst))], origin.stage, excluded.names)


def _measured(
    source: Artifact,
    artifact: Artifact,
    inputs: Arrays,
    how: How,
    *,
    overflowing: bool = False,
    output: str | None = None,
) -> list[Layer]:
    """The effect of each suspect on the outputs, in the graph's order."""
    before = graphs.read(source, how.extensions)
    values = formats.part(source.kind, "values").values
    meant = before.results if output is None else [before.outputs[output]]
    results = [n for n in meant if n in before.nodes and before.nodes[n].type != graphs.CONSTANT]
    exact = values(source, results, inputs, {}, how)
    changed = []
    for name, (error, lowered) in _suspects(source, artifact, before, inputs, how).items():
        if overflowing and not math.isinf(error):
            continue
        lowered_values = {name: _as(lowered, before.nodes[name].dtype)}
        answers = {**values(source, results, inputs, lowered_values, how), **lowered_values}
        brought = max((_error(answers[r], exact[r]) for r in results), default=0.0)
        brought = math.inf if math.isinf(error) and brought > HARM else brought
        changed.append(Layer(name, before.nodes[name].type, error, brought))
    return changed


def _suspects(
    source: Artifact, artifact: Artifact, before: NodeGraph, inputs: Arrays, how: How
) -> dict[str, tuple[float, Array]]:
    """The lowered layers with the largest errors at exact inputs, each with its error and its values."""
    after = graphs.read(artifact, how.extensions)
    names, values = _common(before, after), formats.part(artifact.kind, "values").values
    lowered = [n for n in names if after.is_lowered(n)]
    suspects: dict[str, tuple[float, Array]] = {}
    for start in range(0, len(lowered), AT_ONCE):
        part = lowered[start : start + AT_ONCE]
        fed = list(dict.fromkeys(n for name in part for n in _nearest(after, name, {*names})))
        exact = values(source, list(dict.fromkeys([*part, *fed])), inputs, {}, how)
        # In the types that the layers take: large numbers become infinities in float16.
        own = values(artifact, part, inputs, {n: _as(exact[n], after.nodes[n].dtype) for n in fed}, how)
        suspects |= {n: (error, own[n]) for n in part if (error := _error(own[n], exact[n])) > 0}
        most = sorted(suspects, key=lambda n: suspects[n][0], reverse=True)[:TRIED]
        suspects = {n: suspect for n, suspect in suspects.items() if n in most}
    return suspects


def _common(before: NodeGraph, after: NodeGraph) -> list[str]:
    """The operations that both graphs have, with floating-point results.

    Operations that only move quantised values are left out: these were rounded for the operation after them.
    """
    return [
        name
        for name, node in before.nodes.items()
        if node.type not in (graphs.CONSTANT, "Parameter", "Result")
        and name in after.nodes
        and after.nodes[name].type == node.type
        and {node.dtype, after.nodes[name].dtype} <= {*graphs.FLOATS}
        and not (node.type in graphs.MOVES and after.nodes[name].dtype == node.dtype)
    ]


def _as(values: Array, dtype: str) -> Array:
    import numpy as np

    with np.errstate(over="ignore"):
        return values.astype(dtype)


def _error(actual: Array, expected: Array) -> float:
    import numpy as np

    if actual.shape != expected.shape:
        return math.inf
    a, b = actual.astype(np.float64), expected.astype(np.float64)
    if not np.array_equal(np.isfinite(a), finite := np.isfinite(b)):
        return math.inf
    a, b = a[finite], b[finite]
    if (
        actual.dtype.kind == "f" and (np.abs(b) > np.finfo(actual.dtype).max).any()
    ):  # as after a factor that was cut to fit
        return math.inf
    norm, off = float(np.linalg.norm(b)), float(np.linalg.norm(a - b))
    return off / norm if norm else (math.inf if off else 0.0)


def _nearest(graph: NodeGraph, name: str, among: Collection[str]) -> Iterator[str]:
    """The nearest of some layers before this one."""
    pending, visited = list(graph.nodes[name].sources), set()
    while pending:
        source = pending.pop()
        if source in visited or source not in graph.nodes:
            continue
        visited.add(source)
        if source in among:
            yield source
        else:
            pending += graph.nodes[source].sources


def _may_overflow(source: Artifact, artifact: Artifact, inputs: Arrays) -> bool:
    """Whether a value of the source is out of float16's range where the artifact computes in float16."""
    import numpy as np

    before, after = graphs.read(source), graphs.read(artifact)
    names = {
        n for n in _common(before, after) if after.nodes[n].dtype == "float16" and before.nodes[n].dtype == "float32"
    }
    largest: float = formats.part(source.kind, "largest").largest(source, names, inputs)
    return largest > float(np.finfo(np.float16).max)


def _share(value: float) -> str:
    return "overflows" if math.isinf(value) else f"{value:.1%}"


def _typed(name: str) -> str:
    """A name as Hydra's command line takes it: quoted where it could be read as something else."""
    if re.fullmatch(r"[A-Za-z_/][\w./:-]*", name, re.ASCII) and name.casefold() not in WORDS:
        return name
    # Backslashes stand for themselves, but before a quote.
    escaped = re.sub(r'(\\*)("|$)', lambda m: m[1] * 2 + ("\\" if m[2] else "") + m[2], name)
    return f'"{escaped}"'


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else "infinite"
