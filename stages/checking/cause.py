"""Why a check failed, as far as it can be found out: what is added to its message. Nothing of it decides anything."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline import formats
from pipeline.artifact import Artifact, Kind
from stages.checking import advice, divergence
from stages.checking.divergence import Asked, Divergence, Found
from stages.formats import session
from stages.formats.session import How
from stages.interface.interface import Interface
from stages.portable.comparison import Tolerance
from stages.portable.vendor_errors import first_line
from stages.reference import as_met, parity
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
        artifact: What was checked, with its origin.
        reference: What it was held to.
        wrong: What is wrong, a sentence each.
        failing: The labels of the cases where it is wrong, in the order in which they were asked, each with the case
            that was asked just before; see Parity.
        how: How it was run.
        tolerance: What it was held to.
    """

    artifact: Artifact
    reference: Artifact
    wrong: Sequence[str]
    failing: Mapping[str, str]
    how: How
    tolerance: Tolerance


def explained(failure: Failure) -> Explained:
    """What is known of a failure; of what cannot be looked for, why. It raises nothing."""
    artifact = failure.artifact
    try:
        if kept := _order(failure):
            return kept
        found, source = _found(failure)
    except Exception as e:  # runtimes and models raise anything, and what failed must not be hidden by what explains it
        log.info("the operator that diverges first cannot be looked for", exc_info=True)
        found, source = Found(why=f"it cannot be looked for: {first_line(e)}"), artifact
    if found.first is None and found.why == divergence.RIGHT and all(map(PORT.search, failure.wrong)):
        found = Found(why="every value inside it agrees; its outputs are called, shaped or typed otherwise")
    if found.first is None:
        return Explained(f"\n    the operator that diverges first is not known: {found.why}", _ways(artifact, None))
    return Explained(_says(found.first, source), _ways(artifact, found.first))


def _ways(artifact: Artifact, found: Divergence | None) -> str:
    return advice.ways(artifact, found) or (
        "the reference is this module's own: what runs it brought the error in"
        if artifact.kind == Kind.MODULE
        else "the stage just before this check brought the error in: the checks before it passed"
    )


def _says(first: Divergence, source: Artifact) -> str:
    """The operator, its line, how far it is off and what it is in the artifact."""
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


def _found(failure: Failure) -> tuple[Found, Artifact]:
    """What diverges first, and in which artifact that was looked for."""
    artifact = failure.artifact
    if artifact.kind == Kind.MODULE:
        return Found(why="what torch.compile makes of a module has no values that can be asked for"), artifact
    if (model := _model(artifact)) is None:
        return Found(why="there is no module and no graph of the model to compare it with"), artifact
    inside = _with_values(artifact)
    if inside is None:
        return Found(why=f"{artifact.kind} does not give the values inside it"), artifact
    found = Found(why=f"the {inside.kind} does not take what the {artifact.kind} failed at")
    asked_at = list(_asked(failure, inside))
    places = dict.fromkeys((0, len(asked_at) // 2, len(asked_at) - 1) if asked_at else ())
    for asked in (asked_at[place] for place in places):
        found = divergence.first(inside, model, asked, failure.how, failure.tolerance)
        if found.why != divergence.RIGHT:  # else wrong numbers there happen to be others' right ones
            break
    if found.why == divergence.RIGHT and inside is not artifact:
        found = Found(why=f"the values inside the {inside.kind} that it was made of agree, so what made it is wrong")
    return found, inside


def _model(artifact: Artifact) -> Artifact | None:
    """What the model is: the module, or the graph that there was at first."""
    found: Artifact | None = artifact
    while found is not None and found.kind != Kind.MODULE:
        if found.origin is None:
            return None
        if found.origin.source is None:
            is_graph = found is not artifact and found.kind in formats.kinds("values")
            return found if is_graph else None
        found = found.origin.source()
    return found


def _with_values(artifact: Artifact) -> Artifact | None:
    """The artifact, or the nearest that it was made of, that gives the values inside it."""
    found: Artifact | None = artifact
    while found is not None and found.kind not in formats.kinds("values"):
        origin = found.origin
        found = origin.source() if origin is not None and origin.source is not None else None
    return found


def _asked(failure: Failure, inside: Artifact) -> Iterator[Asked]:
    """The questions that the artifact failed at, the smallest first, of the draws and without padding before others."""
    failing = [c for c in reference_cases.read(failure.reference) if c.label in failure.failing]
    failing.sort(key=lambda c: (c.family not in (SIZES, DRAWS), _is_padded(c), sum(v.size for v in c.inputs.values())))
    for case in failing:
        if (met := as_met.case_for(inside, case)) is not None:
            yield Asked(case.label, Interface.of(failure.reference), case.inputs, met.inputs)


def _is_padded(case: Case) -> bool:
    return not all(counts.all() for counts in case.counts.values())


def _order(failure: Failure) -> Explained | None:
    """Where an artifact is right when it is asked alone: what it was asked before is what made it wrong."""
    artifact = failure.artifact
    if not failure.failing:
        return Explained(
            "\n    it is the same request that is answered otherwise: what the runtime keeps from one changes the next",
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
