"""Finds the first operator of the model that an artifact computes differently: its result is not among the values.

The model runs operator by operator beside the values of the artifact. Where the artifact has the model's result, up to
rounding, the model continues with the artifact's numbers: so rounding does not add up, and each operator is judged by
itself. An operator is right where the artifact has its result, or the result of one that depends on it: fused operators
have no results of their own. The first operator that is wrong although its inputs are right diverges.

A result that is off by more than rounding but still close counts as an operator that the runtime approximates. There
the model continues with the artifact's numbers, too, and of all such operators the one with the largest error is named.
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
TRIED = 24  # values of the artifact that are tried in place of a result
# Off by less than this, an operator may be one that a runtime approximates: the next ones are looked at, too.
CLOSE = 0.05
NEAR = 3e-6  # what rounding in float32 makes of one operator's result, as a share of its largest number
LOWERED = 5  # a tolerance for fewer bits is so many times their error at one operator
WORTH = 0.3  # an operator that is off by less than this share of what the worst one is did not break the artifact


@dataclass(frozen=True)
class Divergence:
    """The operator that diverges first.

    Args:
        operator: The operator, such as aten.remainder.
        module: See Result.
        place: Likewise.
        error: How far its result is off, as a share of its largest number; infinite where NaN, infinities, whole
            numbers or truths differ; None where the artifact has no value of that size that is not known. Unless
            `alone`, of the value that is closest to it.
        node: If `alone`, the artifact's node that gives it, otherwise the first that has none of the model's values.
        type: That node's type, by the format's own name.
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
class Search:
    """The result of the search: an operator, or a sentence that says why there is none."""

    first: Divergence | None = None
    why: str = ""


def first(artifact: Artifact, model: Artifact, case: Request, how: How, tolerance: Tolerance) -> Search:
    """The operator that diverges first.

    Args:
        artifact: The artifact that failed, of a kind that has `values`.
        model: The module, or the graph that is the model.
        case: The inputs of both.
        how: How the artifact is run.
        tolerance: The tolerance that it exceeded.

    Raises anything.
    """
    inner = formats.part(artifact.kind, "values").all_values(artifact, case.artifact_inputs, how)
    recorder = _recorder(model, case, how)
    try:
        recorder.record(lambda *_: None, MOST_BYTES)
    except TooLarge as e:
        return Search(why=f"{e} at {case.label}, and they are compared up to {MOST_BYTES / 2**30:.0f} GiB")
    return _Search(artifact, inner, recorder, _near(tolerance, is_graph=model.kind != Kind.MODULE), how).search()


@dataclass(frozen=True)
class Request:
    """One question.

    Args:
        label: The label of the case.
        interface: The model's.
        model_inputs: The model's inputs.
        artifact_inputs: The artifact's inputs.
    """

    label: str
    interface: Interface
    model_inputs: Arrays
    artifact_inputs: Arrays


def _recorder(model: Artifact, case: Request, how: How) -> EagerRecorder | GraphRecorder:
    if model.kind == Kind.MODULE:
        return EagerRecorder(model.live, case.interface, case.model_inputs)
    inner = formats.part(model.kind, "values").all_values(model, case.model_inputs, how)
    return GraphRecorder(model, inner, case.model_inputs)


def _near(tolerance: Tolerance, *, is_graph: bool) -> float:
    """The error that rounding alone gives one operator; in a graph, which is not run again, all operators up to it."""
    near = tolerance.max_rel / LOWERED if tolerance.noise is None else min(NEAR, tolerance.max_rel)
    return 10 * near if is_graph and tolerance.noise is not None else near


@dataclass
class _Pass:
    """One run of the model beside the artifact's values.

    Args:
        recording: The model's recording.
        matches: By result, the artifact's value that equals it.
        distinctive: The results that others are unlikely to equal by chance.
        unlike: Values of results that the artifact does not have.
    """

    recording: Recording = field(default_factory=lambda: Recording((), ()))
    matches: dict[int, Match] = field(default_factory=dict)
    distinctive: set[int] = field(default_factory=set)
    unlike: dict[int, Array] = field(default_factory=dict)


class _Search:
    def __init__(
        self, artifact: Artifact, inner: Inner, recorder: EagerRecorder | GraphRecorder, near: float, how: How
    ) -> None:
        self._inner, self._recorder, self._near = inner, recorder, near
        self._graph, self._values = graphs.read(artifact, how.extensions), Values(inner)
        self._accepted: dict[int, Match] = {}  # results that are off, and what the artifact has in their place

    def search(self) -> Search:
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
            # A difference smaller than rounding can decide all that follows, as an epsilon does. Without the artifact's
            # numbers in between, it shows.
            one = self._pass({}, resuming=False)
            off = [(n, self._closest(one, n), one) for n in _diverging(one)]
        if not off:
            return Search(why=RIGHT)
        errors = [1.0 if m is None else min(m.error, 1.0) for _, m, _ in off]
        worst = max(errors)
        number, match, one = next(
            operator for operator, error in zip(off, errors, strict=True) if error >= WORTH * worst
        )
        return Search(self._operator(number, match, one))

    def _operator(self, number: int, match: Match | None, one: _Pass) -> Divergence:
        """The operator that diverges, with its node in the artifact."""
        results, unlike = one.recording.results, self._unlike(one)
        if (stopped := self._inner.stopped) and not unlike:
            if self._graph.nodes[stopped].type.casefold() in MOVES:
                number = self._first_move(number, results)
            return self._divergence(results[number], None, stopped, stopped=True)
        for source in results[number].sources:
            if results[source].moves and source in one.matches and (node := self._out_of_order(source, one, unlike)):
                return self._divergence(results[source], None, node, reordered=True)
        row = list(self._row(number, one))
        # Many conversions leave out operators that only move numbers: one diverges only if its own result is wrong.
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
        """The first of the operators that only moved the inputs of a result."""
        while before := [s for s in results[number].sources if results[s].moves]:
            number = before[0]
        return number

    def _row(self, number: int, one: _Pass) -> Iterator[int]:
        """A result and those that may be fused with it, while exactly one result is computed from the last one."""
        for _ in range(FUSED):
            yield number
            following = [n for n, r in enumerate(one.recording.results) if number in r.sources]
            if len(following) != 1:
                return
            number = following[0]

    def _divergence(self, result: Result, error: float | None, node: str, **what: Any) -> Divergence:
        kind = self._graph.nodes[node].type if node in self._graph.nodes else ""
        where = (result.operator, result.module, result.place)
        return Divergence(*where, error, node, kind, into_part=result.into_part, **what)

    def _counterpart(self, number: int, one: _Pass, unlike: Sequence[str]) -> Match | None:
        """The first of the artifact's values that, in place of a result, makes the rest of the model agree."""
        right = one.unlike[number]
        others = {n: m for n, m in self._accepted.items() if n != number}
        # Nothing of the model depends on the last result: any value would fit, so the artifact's last one is taken.
        is_last = not any(number in r.sources for r in one.recording.results)
        tried = 0
        for node in reversed(unlike) if is_last else unlike:
            for values in self._inner.values[node]:
                if values.size != right.size or tried >= TRIED:
                    continue
                tried += 1
                reshaped = values.reshape(right.shape)
                match = Match(node, reshaped, alike.difference(reshaped, right))
                if match.error > self._near and not any(_diverging(self._pass({**others, number: match}))):
                    return match
        return None

    def _out_of_order(self, number: int, one: _Pass, unlike: Sequence[str]) -> str:
        """The node that has the numbers of a result in a wrong order.

        The result counted as right because its input has the same numbers, in yet another order. It diverges if the
        rest of the model agrees with the node's order.
        """
        right = one.matches[number].values
        matched = {m.node for m in one.matches.values()}
        for node in dict.fromkeys(n for name in unlike for n in (*self._graph.nodes[name].sources, name)):
            for values in self._inner.values.get(node, ()) if node not in matched else ():
                if [n for n in values.shape if n > 1] == [n for n in right.shape if n > 1] and alike.is_reordered(
                    values, right
                ):
                    match = Match(node, values.reshape(right.shape), math.inf)
                    if not any(_diverging(self._pass({**self._accepted, number: match}))):
                        return node
        return ""

    def _pass(self, accepted: Mapping[int, Match], *, resuming: bool = True) -> _Pass:
        """Runs the model; where the artifact has a result, the model continues with the artifact's numbers.

        Args:
            accepted: Values to continue with in place of some results, whatever they are.
            resuming: Whether to continue with the artifact's numbers at all.
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
            if alike.is_distinctive(values):
                one.distinctive.add(number)
            is_rounded = resuming and values.dtype.kind == "f" and match.error and not match.moved
            return match.values if number in accepted or is_rounded else None

        one.recording = self._recorder.record(follow)
        return one

    def _closest(self, one: _Pass, number: int) -> Match | None:
        return self._values.closest(one.unlike[number], self._explained(one)) if number in one.unlike else None

    def _explained(self, one: _Pass) -> set[str]:
        """The artifact's nodes that have a value of the model, and all nodes before these."""
        explained = {m.node for m in one.matches.values()}
        pending = list(explained)
        while pending:
            node = self._graph.nodes.get(pending.pop())
            for source in node.sources if node else ():
                if source not in explained:
                    explained.add(source)
                    pending.append(source)
        return explained

    def _unlike(self, one: _Pass) -> list[str]:
        """The artifact's nodes that have no value of the model and lead to none, and the nodes just before these."""
        explained, matched = self._explained(one), {m.node for m in one.matches.values()}
        unexplained = {name for name in self._inner.values if name not in explained}
        before = {s for name in unexplained for s in self._graph.nodes[name].sources} - matched
        return [name for name in self._inner.values if name in unexplained | before]


def _diverging(one: _Pass) -> Iterator[int]:
    """The first missing results: the artifact has all before them, but neither these nor any that depends on them.

    An output must be there itself: all that depends on a cache in another order may be right.
    """
    results = one.recording.results
    outputs = set(one.recording.outputs)
    # From the last to the first: whether a distinctive result depends on it and is right.
    leads = [False] * len(results)
    needed = set(one.recording.outputs)
    for number in reversed(range(len(results))):
        leads[number] |= number in one.distinctive
        for source in results[number].sources:
            leads[source] |= leads[number]
            if number in needed:
                needed.add(source)
    right: list[bool] = []
    for number, result in enumerate(results):
        before = all(right[s] for s in result.sources)
        has_none = number not in one.matches and number not in one.unlike  # empty, complex or the like
        leads_on = leads[number] and number not in outputs
        right.append(leads_on or number in one.matches or (has_none and before) or not result.sources)
        if number in needed and before and not right[number]:
            yield number
