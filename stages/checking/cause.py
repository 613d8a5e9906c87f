"""Why a check failed, as far as that can be found out: lines for its message. They do not change the verdict."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline import formats
from pipeline.artifact import Artifact, Kind
from stages.checking import advice, divergence
from stages.checking.divergence import Divergence, Request, Search
from stages.formats import session
from stages.formats.session import How
from stages.interface.interface import Interface
from stages.portable.comparison import Tolerance
from stages.portable.vendor_errors import first_line
from stages.reference import artifact_cases, parity
from stages.reference import cases as reference_cases
from stages.reference.cases import Case
from stages.reference.families import DRAWS, SIZES

log = logging.getLogger(__name__)

# Of sentences on what is wrong, those that say nothing of values; see stages/portable/comparison.py.
PORT = re.compile("its outputs are| has shape | has type ")


@dataclass(frozen=True)
class Explained:
    """Why a check failed.

    Args:
        sentence: Lines to put below the message.
        command: What to try.
    """

    sentence: str
    command: str


@dataclass(frozen=True)
class Failure:
    """A check that failed.

    Args:
        artifact: The artifact that was checked, with its origin.
        reference: The reference that it was compared with.
        wrong: What is wrong, a sentence each.
        failing: The labels of the failing cases in the order in which they ran, each with the label of the case that
            ran just before it; see Parity.
        how: How it was run.
        tolerance: The tolerance of the check.
    """

    artifact: Artifact
    reference: Artifact
    wrong: Sequence[str]
    failing: Mapping[str, str]
    how: How
    tolerance: Tolerance


def explained(failure: Failure) -> Explained:
    """The cause of a failure, or why it cannot be found. Raises nothing."""
    artifact = failure.artifact
    try:
        if by_order := _order(failure):
            return by_order
        search, source = _search(failure)
    except Exception as e:  # runtimes and models raise anything, and what failed must not be hidden by what explains it
        log.info("the operator that diverges first cannot be looked for", exc_info=True)
        search, source = Search(why=f"it cannot be looked for: {first_line(e)}"), artifact
    if search.first is None and search.why == divergence.RIGHT and all(map(PORT.search, failure.wrong)):
        search = Search(why="every value inside it agrees; its outputs are called, shaped or typed otherwise")
    if search.first is None:
        return Explained(f"\n    the operator that diverges first is not known: {search.why}", _ways(artifact, None))
    return Explained(_says(search.first, source), _ways(artifact, search.first))


def _ways(artifact: Artifact, first: Divergence | None) -> str:
    return advice.ways(artifact, first) or (
        "the reference is this module's own: what runs it brought the error in"
        if artifact.kind == Kind.MODULE
        else "the stage just before this check brought the error in: the checks before it passed"
    )


def _says(first: Divergence, source: Artifact) -> str:
    """The operator, its line, how far it is off, and its node in the artifact."""
    module = f" of {first.module}" if first.module else ""
    place = f", at {first.place}" if first.place else ""
    node = f"{first.type} '{first.node}' of the {source.kind}" if first.node else f"the {source.kind}"
    if first.stopped:
        off = f"{node} cannot be computed"
    elif first.reordered:
        off = f"its numbers are in another order in {node}"
    elif first.alone:
        result = f"its result{f', with {first.behind} behind it,' if first.behind else ''}"
        off = f"{result} {_off(first)} in {node}, and with that all the rest agrees"
    else:
        closest = "" if first.error is None else f", the closest {_off(first)}"
        off = f"no value of the {source.kind} is its result{closest}" + (f"; they part at {node}" if first.node else "")
    return f"\n    diverges first: {first.operator}{module}{place}\n        {off}"


def _off(first: Divergence) -> str:
    if first.whole:
        return "has other whole numbers or truths"
    if first.error is None or math.isinf(first.error):
        return "has NaN or infinities in other places"
    return f"is {first.error:.1e} off"


def _search(failure: Failure) -> tuple[Search, Artifact]:
    """The first operator that diverges, and the artifact that was searched."""
    artifact = failure.artifact
    if artifact.kind == Kind.MODULE:
        return Search(why="what torch.compile makes of a module has no values that can be asked for"), artifact
    if (model := _model(artifact)) is None:
        return Search(why="there is no module and no graph of the model to compare it with"), artifact
    inside = _with_values(artifact)
    if inside is None:
        return Search(why=f"{artifact.kind} does not give the values inside it"), artifact
    search = Search(why=f"the {inside.kind} does not take what the {artifact.kind} failed at")
    requests = list(_requests(failure, inside))
    places = dict.fromkeys((0, len(requests) // 2, len(requests) - 1) if requests else ())
    for request in (requests[place] for place in places):
        search = divergence.first(inside, model, request, failure.how, failure.tolerance)
        if search.why != divergence.RIGHT:  # else wrong numbers there happen to equal right ones elsewhere
            break
    if search.why == divergence.RIGHT and inside is not artifact:
        search = Search(why=f"the values inside the {inside.kind} that it was made of agree, so what made it is wrong")
    return search, inside


def _model(artifact: Artifact) -> Artifact | None:
    """The model: the module, or the graph that everything was made from."""
    source: Artifact | None = artifact
    while source is not None and source.kind != Kind.MODULE:
        if source.origin is None:
            return None
        if source.origin.source is None:
            is_graph = source is not artifact and source.kind in formats.kinds("values")
            return source if is_graph else None
        source = source.origin.source()
    return source


def _with_values(artifact: Artifact) -> Artifact | None:
    """The artifact itself or the nearest of its sources that gives its inner values."""
    source: Artifact | None = artifact
    while source is not None and source.kind not in formats.kinds("values"):
        origin = source.origin
        source = origin.source() if origin is not None and origin.source is not None else None
    return source


def _requests(failure: Failure, inside: Artifact) -> Iterator[Request]:
    """The cases that failed: ordinary draws without padding first, then by size."""
    failing = [c for c in reference_cases.read(failure.reference) if c.label in failure.failing]
    failing.sort(key=lambda c: (c.family not in (SIZES, DRAWS), _is_padded(c), sum(v.size for v in c.inputs.values())))
    for case in failing:
        if (adapted := artifact_cases.case_for(inside, case)) is not None:
            yield Request(case.label, Interface.read(failure.reference), case.inputs, adapted.inputs)


def _is_padded(case: Case) -> bool:
    return not all(counts.all() for counts in case.counts.values())


def _order(failure: Failure) -> Explained | None:
    """The explanation where an artifact is right in a fresh session: an earlier request makes it wrong."""
    artifact = failure.artifact
    if not failure.failing:
        return Explained(
            "\n    the same request is answered differently: what the runtime keeps from one changes the next",
            _other_order(artifact),
        )
    label, before = next(iter(failure.failing.items()))
    if not before:
        return None
    fresh = session.open_session(
        artifact, failure.how.compute, properties=failure.how.properties, extensions=failure.how.extensions
    )
    if parity.alone(artifact, fresh, failure.reference, label, failure.tolerance):
        return None
    return Explained(
        f"\n    it is right at {label} when it is asked that first, and wrong after {before}: what the "
        "runtime keeps from one request changes the next",
        _other_order(artifact),
    )


def _other_order(artifact: Artifact) -> str:
    anew = "another version of its runtime, or a program that loads it anew when sizes change"
    return "; or ".join([*advice.settings(artifact), anew])
