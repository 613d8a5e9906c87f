"""Which operator of the model an artifact computes otherwise: the first whose result is nowhere among its values.

The model is run operator by operator beside the values of the artifact. Where the artifact has a result of the model's,
but for rounding, the model goes on with the artifact's numbers: so rounding does not add up, and each operator is
judged by itself. An operator is right where the artifact has its result, or that of one that depends on it: fused
operators have no results of their own. The first that is not, though all that it was given is, diverges.

What is further off than rounding and still close is taken for an operator that the runtime approximates. The model goes
on with the artifact's numbers there, too, and of all that were found so the one that is furthest off is named.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline import formats
from pipeline.artifact import Artifact, Kind
from stages.checking import alike
from stages.checking.alike import Match, Values
from stages.checking.recorded import EagerRecorder, GraphRecorder, Recording, Result, TooLarge
from stages.formats import graphs
from stages.formats.inner import Inner
from stages.formats.session import How
from stages.interface.interface import Interface
from stages.portable.comparison import Tolerance

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]
    Arrays = Mapping[str, Array]

log = logging.getLogger(__name__)

MOST_BYTES = 2**30  # of the values inside the model
RIGHT = "with every value inside it handed out it agrees, so what the runtime fuses is wrong"
PASSES = 8
MOVES = {kind.casefold() for kind in graphs.MOVES}
FUSED = 3  # operators in a row that are taken for one
TRIED = 24  # values of the artifact that are tried in the place of a result
# Off by less than this, an operator may be one that a runtime approximates: the next ones are looked at, too.
CLOSE = 0.05
NEAR = 3e-6  # what rounding in float32 makes of one operator's result, as a share of its largest number
LOWERED = 5  # a tolerance for fewer bits is so many times what they do to one operator
WORTH = 0.3  # an operator that is off by less than this share of what the worst one is did not break the artifact


@dataclass(frozen=True)
class Divergence:
    """The operator that diverges first.

    Args:
        operator: Such as aten.remainder.
        module: See Result.
        place: Likewise.
        error: How far its result is off, as a share of its largest number; infinite where NaN, infinities, whole
            numbers or truths differ; None where the artifact has no value of that size that is not known. Unless
            `alone`, of the value that is closest to it.
        node: If `alone`, the artifact's node that gives it, otherwise the first that has none of the model's values.
        type: That node's, by the format's own name.
        whole: Whether the result is of whole numbers or truths.
        behind: The operator that the artifact fused with it, whose result it is.
        alone: Whether with that node's numbers all the rest of the model agrees.
        reordered: Whether that node has the result's numbers in another order.
        stopped: Whether the artifact cannot compute that node at these inputs.
        into_part: See Result.
    """

    operator: str
    module: str
    place: str
    error: float | None
    node: str = ""
    type: str = ""
    whole: bool = False
    behind: str = ""
    alone: bool = False
    reordered: bool = False
    stopped: bool = False
    into_part: bool = False


@dataclass(frozen=True)
class Found:
    """What looking for it came to: an operator, or a sentence that says why there is none."""

    first: Divergence | None = None
    why: str = ""


def first(artifact: Artifact, model: Artifact, case: Asked, how: How, tolerance: Tolerance) -> Found:
    """The operator that diverges first.

    Args:
        artifact: What failed, of a kind that has `values`.
        model: The module, or the graph that is the model.
        case: What both were asked.
        how: How the artifact is run.
        tolerance: What it failed at.

    Raises anything.
    """
    inner = formats.part(artifact.kind, "values").all_values(artifact, case.taken, how)
    recorder = _recorder(model, case, how)
    try:
        recorder.record(lambda *_: None, MOST_BYTES)
    except TooLarge as e:
        return Found(why=f"{e} at {case.label}, and they are compared up to {MOST_BYTES / 2**30:.0f} GiB")
    return _Search(artifact, inner, recorder, _near(tolerance, is_graph=model.kind != Kind.MODULE), how).found()


@dataclass(frozen=True)
class Asked:
    """One question.

    Args:
        label: Of the case.
        interface: The model's.
        given: What the model takes.
        taken: What the artifact takes.
    """

    label: str
    interface: Interface
    given: Arrays
    taken: Arrays


def _recorder(model: Artifact, case: Asked, how: How) -> EagerRecorder | GraphRecorder:
    if model.kind == Kind.MODULE:
        return EagerRecorder(model.live, case.interface, case.given)
    inner = formats.part(model.kind, "values").all_values(model, case.given, how)
    return GraphRecorder(model, inner, case.given)


def _near(tolerance: Tolerance, *, is_graph: bool) -> float:
    """What rounding alone makes of one operator's result; in a graph, which is not run anew, of all before it, too."""
    near = tolerance.max_rel / LOWERED if tolerance.noise is None else min(NEAR, tolerance.max_rel)
    return 10 * near if is_graph and tolerance.noise is not None else near


@dataclass
class _Pass:
    """What one run of the model beside the artifact's values showed.

    Args:
        recording: Of the model.
        matches: By result, the artifact's value that it is.
        known: The results that others are hardly equal to by chance.
        unlike: Values of results that the artifact does not have.
    """

    recording: Recording = field(default_factory=lambda: Recording((), ()))
    matches: dict[int, Match] = field(default_factory=dict)
    known: set[int] = field(default_factory=set)
    unlike: dict[int, Array] = field(default_factory=dict)


class _Search:
    def __init__(
        self, artifact: Artifact, inner: Inner, recorder: EagerRecorder | GraphRecorder, near: float, how: How
    ) -> None:
        self._inner, self._recorder, self._near = inner, recorder, near
        self._graph, self._values = graphs.read(artifact, how.extensions), Values(inner)
        self._accepted: dict[int, Match] = {}  # results that are off, and what the artifact has in their place

    def found(self) -> Found:
        off: list[tuple[int, Match | None, _Pass]] = []
        for _ in range(PASSES):
            one = self._pass(self._accepted)
            new = [(n, self._closest(one, n), one) for n in _diverging(one)]
            off += new
            close = {n: m for n, m, _ in new if m is not None and m.error <= max(CLOSE, 3 * self._near)}
            if not close:
                break
            self._accepted |= close
        if not off:
            # Less than rounding can be what all that follows depends on, as an epsilon is: without the artifact's
            # numbers in between, it shows where that is.
            one = self._pass({}, resuming=False)
            off = [(n, self._closest(one, n), one) for n in _diverging(one)]
        if not off:
            return Found(why=RIGHT)
        errors = [1.0 if m is None else min(m.error, 1.0) for _, m, _ in off]
        worst = max(errors)
        number, match, one = next(told for told, error in zip(off, errors, strict=True) if error >= WORTH * worst)
        return Found(self._told(number, match, one))

    def _told(self, number: int, match: Match | None, one: _Pass) -> Divergence:
        """An operator that diverges, with the artifact's node that is its own."""
        results, unlike = one.recording.results, self._unlike(one)
        if (stopped := self._inner.stopped) and not unlike:
            if self._graph.nodes[stopped].type.casefold() in MOVES:
                number = self._first_move(number, results)
            return self._divergence(results[number], None, stopped, stopped=True)
        for source in results[number].sources:
            if results[source].moves and source in one.matches and (node := self._out_of_order(source, one, unlike)):
                return self._divergence(results[source], None, node, reordered=True)
        row = list(self._row(number, one))
        # What only moves numbers is left out by many conversions: it diverges where its own result is what is wrong.
        guilty = results[next((n for n in row if not results[n].moves), number)]
        for last in row:
            if last in one.unlike and (counterpart := self._counterpart(last, one, unlike)):
                first = results[number] if last == number else guilty
                behind = "" if results[last] is first else results[last].operator
                whole = one.unlike[last].dtype.kind != "f"
                node, error = counterpart.node, counterpart.error
                return self._divergence(first, error, node, behind=behind, whole=whole, alone=True)
        closest = match.error if match is not None and match.node in unlike else None
        whole = number in one.unlike and one.unlike[number].dtype.kind != "f"
        return self._divergence(guilty, closest, next(iter(unlike), ""), whole=whole)

    def _first_move(self, number: int, results: Sequence[Result]) -> int:
        """Of what only moved the numbers that a result was given, the first."""
        while before := [s for s in results[number].sources if results[s].moves]:
            number = before[0]
        return number

    def _row(self, number: int, one: _Pass) -> Iterator[int]:
        """A result, and those that the artifact may have fused with it: as long as there is one that is made of it."""
        for _ in range(FUSED):
            yield number
            following = [n for n, r in enumerate(one.recording.results) if number in r.sources]
            if len(following) != 1:
                return
            number = following[0]

    def _divergence(self, result: Result, error: float | None, node: str, **what: Any) -> Divergence:
        kind = self._graph.nodes[node].type if node in self._graph.nodes else ""
        told = (result.operator, result.module, result.place)
        return Divergence(*told, error, node, kind, into_part=result.into_part, **what)

    def _counterpart(self, number: int, one: _Pass, unlike: Sequence[str]) -> Match | None:
        """The first of the artifact's values with which, in the place of a result, all the rest of the model agrees."""
        right = one.unlike[number]
        others = {n: m for n, m in self._accepted.items() if n != number}
        # What is made of the last of them is none of the model's: any value would do, and the artifact's last is meant.
        is_last = not any(number in r.sources for r in one.recording.results)
        tried = 0
        for node in reversed(unlike) if is_last else unlike:
            for values in self._inner.values[node]:
                if values.size != right.size or tried >= TRIED:
                    continue
                tried += 1
                found = values.reshape(right.shape)
                match = Match(node, found, alike.difference(found, right))
                if match.error > self._near and not any(_diverging(self._pass({**others, number: match}))):
                    return match
        return None

    def _out_of_order(self, number: int, one: _Pass, unlike: Sequence[str]) -> str:
        """The node that has the numbers of a result in a wrong order.

        The result was taken for right by what it was made of: that has the same numbers, in yet another order. It
        diverges if with the node's order all the rest agrees.
        """
        right = one.matches[number].values
        known = {m.node for m in one.matches.values()}
        for node in dict.fromkeys(n for name in unlike for n in (*self._graph.nodes[name].sources, name)):
            for values in self._inner.values.get(node, ()) if node not in known else ():
                if [n for n in values.shape if n > 1] == [n for n in right.shape if n > 1] and alike.is_reordered(
                    values, right
                ):
                    match = Match(node, values.reshape(right.shape), math.inf)
                    if not any(_diverging(self._pass({**self._accepted, number: match}))):
                        return node
        return ""

    def _pass(self, accepted: Mapping[int, Match], *, resuming: bool = True) -> _Pass:
        """Runs the model; where the artifact has a result, the model goes on with the artifact's numbers.

        Args:
            accepted: What to go on with, whatever it is, in the place of some results.
            resuming: Whether to go on with the artifact's numbers at all.
        """
        one = _Pass()

        def follow(number: int, values: Array) -> Array | None:
            match = accepted.get(number)
            if match is None or match.values.shape != values.shape:
                match = self._values.like(values, self._near)
            if match is None:
                one.unlike[number] = values.copy()
                return None
            one.matches[number] = match
            if alike.tells(values):
                one.known.add(number)
            is_rounded = resuming and values.dtype.kind == "f" and match.error and not match.moved
            return match.values if number in accepted or is_rounded else None

        one.recording = self._recorder.record(follow)
        return one

    def _closest(self, one: _Pass, number: int) -> Match | None:
        return self._values.closest(one.unlike[number], self._explained(one)) if number in one.unlike else None

    def _explained(self, one: _Pass) -> set[str]:
        """The artifact's nodes that have a value of the model's, and what leads to these."""
        known = {m.node for m in one.matches.values()}
        pending = list(known)
        while pending:
            node = self._graph.nodes.get(pending.pop())
            for source in node.sources if node else ():
                if source not in known:
                    known.add(source)
                    pending.append(source)
        return known

    def _unlike(self, one: _Pass) -> list[str]:
        """The artifact's nodes that have no value of the model's and lead to none, and what these alone are made of."""
        explained, known = self._explained(one), {m.node for m in one.matches.values()}
        found = {name for name in self._inner.values if name not in explained}
        before = {s for name in found for s in self._graph.nodes[name].sources} - known
        return [name for name in self._inner.values if name in found | before]


def _diverging(one: _Pass) -> Iterator[int]:
    """The results that the artifact does not have, nor any that depends on them, though it has all before them.

    One that is an output itself is to be had as it is: of a cache in another order all that is made of it may be right.
    """
    results = one.recording.results
    outputs = set(one.recording.outputs)
    # From the last to the first: whether one that tells depends on it and is right.
    leads = [False] * len(results)
    wanted = set(one.recording.outputs)
    for number in reversed(range(len(results))):
        leads[number] |= number in one.known
        for source in results[number].sources:
            leads[source] |= leads[number]
            if number in wanted:
                wanted.add(source)
    right: list[bool] = []
    for number, result in enumerate(results):
        before = all(right[s] for s in result.sources)
        has_none = number not in one.matches and number not in one.unlike  # empty, complex or the like
        leads_on = leads[number] and number not in outputs
        right.append(leads_on or number in one.matches or (has_none and before) or not result.sources)
        if number in wanted and before and not right[number]:
            yield number
