"""Which layers bring an error in: a lowered graph and the one it was made of, compared layer by layer."""

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
    """Notes with the layers that bring the error in, and the stage that lowered them."""

    blame: Mapping[str, Any]


@dataclass(frozen=True)
class Layer:
    """What a layer does to the error.

    Args:
        name: As the graph has it.
        type: By the format's own name.
        error: Of its values where it is given exact ones, the norm of the difference over the norm; infinite where they
            overflow.
        brought: The same of what the graph answers where nothing but this layer is lowered; infinite also where the
            layer overflows and the answers show it.
    """

    name: str
    type: str
    error: float
    brought: float


@dataclass(frozen=True)
class Blamed:
    """The layers that bring most of the error in, the worst first, and how to leave them out.

    Args:
        layers: None of them where every layer is as it was.
        stage: The name of the stage that lowered them.
        already: The operations that it was told by name to leave alone.
    """

    layers: Sequence[Layer]
    stage: str
    already: Sequence[str]

    @property
    def sentence(self) -> str:
        """For a message that something failed."""
        told = listed((f"{e.name} ({e.type}, {_share(e.brought)})" for e in self.layers), MOST)
        return f"\n    brought in by {told}" if told else "\n    no layer by itself brings the error in"

    @property
    def command(self) -> str:
        """What leaves these layers out, to be typed, and to be pasted into YAML."""
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
        told = [{**vars(e), "error": _plain(e.error), "brought": _plain(e.brought)} for e in self.layers]
        return BlameNotes(blame={"stage": self.stage, "layers": told})


def layers(
    artifact: Artifact,
    inputs: Arrays,
    compute: str,
    extensions: Sequence[str] = (),
    *,
    overflowing: bool = False,
    output: str | None = None,
) -> Blamed | None:
    """The layers of an artifact that bring most of its error in.

    None where it is not of fewer bits than what it was made of, or where the two cannot be run layer by layer.

    Args:
        artifact: As the runner hands it to a stage, with its origin.
        inputs: Arrays that it takes, by name.
        compute: What an IR is to compute in.
        extensions: Operations that OpenVINO does not have by itself.
        overflowing: Whether to look for those alone whose values do not fit their type, with harm to the answers. What
            runtimes raise then goes on to whoever asked.
        output: The output that the answers are; None for all outputs.
    """
    origin = artifact.origin
    if origin is None or origin.source is None or (told := ignored.from_facts(artifact)) is None:
        return None
    try:
        source = origin.source()
        if source.kind != artifact.kind or artifact.kind not in formats.kinds("values"):
            return None
        if overflowing and not _may_overflow(source, artifact, inputs):
            return None
        how = How(compute, None, {}, extensions)
        found = _measured(source, artifact, inputs, how, overflowing=overflowing, output=output)
    except Exception:  # runtimes raise anything, and what failed must not be hidden by what was to explain it
        if overflowing:  # that is no explanation but a finding of its own: who asked must say that there is none
            raise
        log.info("the layers cannot be compared", exc_info=True)
        return None
    found.sort(key=lambda e: e.brought, reverse=True)
    least = math.inf if overflowing else WORTH * (found[0].brought if found else 0.0)
    worst = [e for e in found if e.brought > 0 and e.brought >= least]
    # Of layers that overflow, to leave out a part helps nobody.
    return Blamed(worst[: max(MOST, sum(math.isinf(e.brought) for e in worst))], origin.stage, told.names)


def _measured(
    source: Artifact,
    artifact: Artifact,
    inputs: Arrays,
    how: How,
    *,
    overflowing: bool = False,
    output: str | None = None,
) -> list[Layer]:
    """What each of the suspects does to the answers, in the graph's order."""
    before = graphs.read(source, how.extensions)
    values = formats.part(source.kind, "values").values
    meant = before.results if output is None else [before.outputs[output]]
    results = [n for n in meant if n in before.nodes and before.nodes[n].type != graphs.CONSTANT]
    exact = values(source, results, inputs, {}, how)
    found = []
    for name, (error, lowered) in _suspects(source, artifact, before, inputs, how).items():
        if overflowing and not math.isinf(error):
            continue
        given = {name: _as(lowered, before.nodes[name].dtype)}
        answers = {**values(source, results, inputs, given, how), **given}
        brought = max((_error(answers[r], exact[r]) for r in results), default=0.0)
        brought = math.inf if math.isinf(error) and brought > HARM else brought
        found.append(Layer(name, before.nodes[name].type, error, brought))
    return found


def _suspects(
    source: Artifact, artifact: Artifact, before: NodeGraph, inputs: Arrays, how: How
) -> dict[str, tuple[float, Array]]:
    """The lowered layers whose values are furthest off when they are given exact ones: the error, and the values."""
    after = graphs.read(artifact, how.extensions)
    names, values = _common(before, after), formats.part(artifact.kind, "values").values
    lowered = [n for n in names if after.is_lowered(n)]
    found: dict[str, tuple[float, Array]] = {}
    for start in range(0, len(lowered), AT_ONCE):
        part = lowered[start : start + AT_ONCE]
        fed = list(dict.fromkeys(n for name in part for n in _nearest(after, name, {*names})))
        exact = values(source, list(dict.fromkeys([*part, *fed])), inputs, {}, how)
        # In the types that the layers take them in: float16 makes infinities of large ones.
        own = values(artifact, part, inputs, {n: _as(exact[n], after.nodes[n].dtype) for n in fed}, how)
        found |= {n: (error, own[n]) for n in part if (error := _error(own[n], exact[n])) > 0}
        most = sorted(found, key=lambda n: found[n][0], reverse=True)[:TRIED]
        found = {n: told for n, told in found.items() if n in most}
    return found


def _common(before: NodeGraph, after: NodeGraph) -> list[str]:
    """The operations that both graphs have, with floating-point results.

    What only moves quantised values is left out: they were rounded for the operation behind it.
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


def _error(found: Array, wanted: Array) -> float:
    import numpy as np

    if found.shape != wanted.shape:
        return math.inf
    a, b = found.astype(np.float64), wanted.astype(np.float64)
    if not np.array_equal(np.isfinite(a), finite := np.isfinite(b)):
        return math.inf
    a, b = a[finite], b[finite]
    if (
        found.dtype.kind == "f" and (np.abs(b) > np.finfo(found.dtype).max).any()
    ):  # as after a factor that was cut to fit
        return math.inf
    norm, off = float(np.linalg.norm(b)), float(np.linalg.norm(a - b))
    return off / norm if norm else (math.inf if off else 0.0)


def _nearest(graph: NodeGraph, name: str, known: Collection[str]) -> Iterator[str]:
    """The last of some layers before one."""
    pending, seen = list(graph.nodes[name].sources), set()
    while pending:
        source = pending.pop()
        if source in seen or source not in graph.nodes:
            continue
        seen.add(source)
        if source in known:
            yield source
        else:
            pending += graph.nodes[source].sources


def _may_overflow(source: Artifact, artifact: Artifact, inputs: Arrays) -> bool:
    """Whether a value of a graph is beyond what float16 holds where the graph cast from it has float16."""
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
