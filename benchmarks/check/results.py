"""What is known so far: a file of JSON lines for each artifact, written as it is found out, so that a run can go on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.check.faults.mutant import Mutant
from benchmarks.check.judging.judge import KILLED, MISSED, STILLBORN, Verdict


@dataclass(frozen=True)
class Right:
    """What was found out about a right artifact.

    Args:
        usable: The varied inputs at which it agrees, of `tried`.
        tried: How many were drawn.
        comparisons: Of outputs with the model's that its checks made, by several seeds.
        alarms: Those that failed, each in words.
    """

    usable: int
    tried: int
    comparisons: int
    alarms: list[str]


@dataclass(frozen=True)
class Judged:
    """A mutant with its verdict."""

    subject: str
    target: str
    kind: str
    what: str
    verdict: Verdict

    @property
    def counts(self) -> bool:
        """Whether it is a fault that was told: what is equivalent or never ran is none."""
        return self.verdict.verdict in (KILLED, MISSED)


@dataclass
class Unit:
    """The file of one artifact.

    Attributes:
        planned: How many mutants it is to have.
        broken: Why it could not be made, where that is so.
        finished: Whether nothing is left to do.
    """

    subject: str
    target: str
    path: Path
    right: Right | None = None
    judged: dict[str, Judged] = field(default_factory=dict)
    planned: int = 0
    broken: str = ""
    finished: bool = False

    @classmethod
    def read(cls, subject: str, target: str, folder: Path) -> Unit:
        """What its file keeps. A mutant that was begun and has no verdict ended its process: it is stillborn."""
        unit = cls(subject, target, folder / f"{subject}-{target}.jsonl")
        begun: tuple[str, str] | None = None
        for fields in unit._lines():
            if "right" in fields:
                unit.right = Right(**fields["right"])
            elif "planned" in fields:
                unit.planned = fields["planned"]
            elif "broken" in fields:
                unit.broken = fields["broken"]
            elif "finished" in fields:
                unit.finished = True
            elif "left" in fields:
                begun = None
            elif "begun" in fields:
                unit._died(begun)
                begun = (fields["begun"]["kind"], fields["begun"]["what"])
            else:
                unit._keep(fields["kind"], fields["what"], Verdict(**fields["verdict"]))
                begun = None
        unit._died(begun)
        return unit

    def write(self, **fields: Any) -> None:
        """A line more."""
        with self.path.open("a") as f:
            print(json.dumps(fields), file=f, flush=True)

    def begin(self, mutant: Mutant) -> None:
        self.write(begun={"kind": mutant.kind, "what": mutant.what})

    def end(self, mutant: Mutant, verdict: Verdict) -> None:
        self.write(kind=mutant.kind, what=mutant.what, verdict=asdict(verdict))
        self._keep(mutant.kind, mutant.what, verdict)

    def leave(self) -> None:
        """Notes that the process was ended for another reason than the mutant that it was at."""
        self.write(left=True)

    def _died(self, begun: tuple[str, str] | None) -> None:
        if begun is not None:
            self._keep(*begun, Verdict(STILLBORN, by=["its process ended"]))

    def _keep(self, kind: str, what: str, verdict: Verdict) -> None:
        self.judged[f"{kind}: {what}"] = Judged(self.subject, self.target, kind, what, verdict)

    def _lines(self) -> Iterator[Mapping[str, Any]]:
        for line in self.path.read_text().splitlines() if self.path.exists() else ():
            try:
                yield json.loads(line)
            except ValueError:  # cut off where the process was ended
                continue
