"""The ways to one artifact: the chosen options and, where these fail, those under `instead` in its YAML, in turn.

    instead: {capture: [trace, script]}

    as chosen ──► served          a way is a composition like any other, so its stages, keys and checks are those of the
        └── refused ─► trace ─►   same choice typed by hand; the first that serves is the run's
                          └── …

The store has the way that served, under the key of the stage that refused the chosen one, so the next run takes it at
once. Failures are not stored, and a stage whose code or input changes is tried again.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.errors import CheckFailed, DrydockError, Problem, StageError, Stopped
from pipeline.notes import Notes
from pipeline.planning.graph import Node
from pipeline.planning.plan import Step, Todo
from pipeline.store import Entry, Store
from pipeline.store import key as keys

log = logging.getLogger(__name__)

Changes = Mapping[str, str]
# The folder of the store's entries that say which way served.
SERVED = "instead"


@dataclass(frozen=True)
class Refused:
    """An alternative that failed.

    Args:
        changes: By group, its option instead of the chosen one; empty for the original choice.
        nodes: Its graph.
        stage: The stage that failed.
        key: That stage's key, where it was known.
        error: The error that it failed with.
    """

    changes: Changes
    nodes: Sequence[Node]
    stage: str
    key: str | None
    error: DrydockError

    @property
    def why(self) -> str:
        """The way and its failure on one line, such as "capture=trace: capture: torch.jit.trace cannot …"."""
        way = f"{name(self.changes)}: " if self.changes else ""
        return f"{way}{first_line(self.error)}"

    def also_refuses(self, nodes: Sequence[Node]) -> bool:
        """Whether another graph has the failed stage and the same stages before it: it would fail there too."""
        at = [n.name for n in self.nodes].index(self.stage)
        return list(nodes[: at + 1]) == list(self.nodes[: at + 1])

    def leaves_open(self, nodes: Sequence[Node]) -> bool:
        """Whether another graph may avoid the failure: it is not in the part that both have in common.

        A converter may fail at any stage. A failed check counts against the way only if no check passed before it: the
        stages after a passed check change numbers on purpose.
        """
        mine = [n.name for n in self.nodes]
        differ = next((i for i, (a, b) in enumerate(zip(self.nodes, nodes, strict=False)) if a != b), len(mine))
        checked = [i for i, n in enumerate(self.nodes) if i >= differ and n.stage.passes_on is not None]
        at = mine.index(self.stage)
        return at >= differ and (not isinstance(self.error, CheckFailed) or not checked or at <= checked[0])


@dataclass(frozen=True)
class Served:
    """The way that served where what was chosen did not.

    Args:
        changes: By group, its option.
        why: Why the earlier alternatives failed, a line each.
    """

    changes: Changes
    why: Sequence[str]

    def __str__(self) -> str:
        return f"{name(self.changes) or 'as chosen'}, since {'; '.join(self.why)}"


def alternatives(instead: Mapping[str, Sequence[str]]) -> list[Changes]:
    """Every way but the chosen one, in order: options of the first group are exchanged first."""
    groups = list(instead)[::-1]
    products = itertools.product(*([None, *instead[group]] for group in groups))
    ways = [{g: o for g, o in zip(groups, options, strict=True) if o is not None} for options in products]
    return [way for way in ways if way]


def name(changes: Changes) -> str:
    """A way as one types it, such as "capture=trace"."""
    return " ".join(f"{group}={option}" for group, option in changes.items())


def may_go_on(error: DrydockError) -> bool:
    """Whether another way may be tried: the failure is no setting, missing library, or limit that ended the stage."""
    return isinstance(error, (StageError, CheckFailed)) and not isinstance(error, Stopped)


def first_line(error: DrydockError) -> str:
    """What went wrong, on one line."""
    return error.problems[0].what.partition("\n")[0]


def all_refused(refused: Sequence[Refused], skipped: Sequence[str]) -> DrydockError:
    """One error of all: the first in full, since it is what was chosen, and a line for each of the others."""
    first, *others = refused
    return type(first.error)([*first.error.problems, *map(Problem, [*(one.why for one in others), *skipped])])


def keep(store: Store, refused: Sequence[Refused], served: Served, digest: str) -> None:
    """Stores the way that served, for the stage that refused the chosen one.

    Args:
        store: The store.
        refused: The ways that did not, in order.
        served: The one that did.
        digest: The digest of its result.
    """
    if (key := refused[0].key) is None:
        return
    document = _document(key)
    notes: Notes = {"says": str(served), "instead": dict(served.changes), "refused": list(served.why)}
    try:
        store.record(Entry(keys.digest(document), document, digest, SERVED, notes, 0.0))
    except DrydockError as e:  # a store that is only read: the next run finds out again
        log.info("which way served is not kept: %s", e)


def served_before(store: Store, steps: Sequence[Step]) -> Iterator[Served]:
    """The ways that served in earlier runs, for each stage to build that may have refused the chosen one then."""
    for step in steps:
        if step.todo is Todo.BUILD and step.key is not None:
            document = _document(step.key)
            entry = store.actions.find(SERVED, keys.digest(document))
            if entry is not None and (changes := entry.notes.get("instead")):
                yield Served({str(g): str(o) for g, o in changes.items()}, [str(w) for w in entry.notes["refused"]])


def _document(key: str) -> dict[str, object]:
    return {"stage": SERVED, "refused_by": key}
