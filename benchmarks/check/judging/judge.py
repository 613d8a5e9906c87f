"""What becomes of one mutant: the check is asked, and where it finds nothing, so are the varied inputs."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.check.converted import Converted
from benchmarks.check.judging import before, probes
from benchmarks.check.judging.yardstick import Eager, Truth, rms, truth
from benchmarks.check.models.subjects import Subject
from pipeline.artifact import Artifact
from pipeline.errors import DrydockError
from stages.formats import session
from stages.interface.interface import Dim, Input, Interface

Arrays = Mapping[str, Any]
Run = Callable[[Arrays], Arrays]
KILLED, MISSED, EQUIVALENT, STILLBORN = VERDICTS = ("killed", "missed", "equivalent", "stillborn")
# Of a failed check, what is said of one question: its name, when it was asked, its shapes, the output.
LINE = re.compile(r"^    (.+?)(?:, asked [a-z ]+)? \([0-9x, a-z]*\): (?:output '(.+?)')?", re.MULTILINE)


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant.

    Args:
        verdict: One of VERDICTS.
        before: Whether the four cases and constants of before find it.
        by: The questions of the check that found it; of one that was missed, the input that tells it apart.
    """

    verdict: str
    before: bool = False
    by: list[str] = field(default_factory=list)


class Judge:
    """Of the mutants of one artifact.

    Args:
        subject: Whose artifact it is.
        converted: The artifact, its reference and its check.
        save: Writes a model of this format into a folder.

    Attributes:
        usable: The varied inputs at which the right artifact agrees, each with what the model answers.
        tried: How many were drawn for that.
    """

    def __init__(self, subject: Subject, converted: Converted, save: Callable[[Any, Path], None]) -> None:
        self._converted, self._save = converted, save
        inputs = {n: Input(list(i["shape"]), i["dtype"], i["fill"]) for n, i in subject.inputs.items()}
        dims = {n: Dim(*d) for n, d in subject.dims.items()}
        eager = Eager(converted.module, list(Interface.read(converted.reference).outputs))
        own = Interface.read(converted.artifact)
        self._takes = {n: i.dtype for n, i in own.inputs.items()}
        gives = {n: o.dtype for n, o in own.outputs.items()}
        asked_before = before.questions(inputs, dims)
        answers = ({n: v.astype(gives[n]) for n, v in eager.single(q).items()} for q in asked_before)
        self._before = list(zip(asked_before, answers, strict=True))
        usual = {n: rms(v) for n, v in eager.double(asked_before[0]).items() if v.dtype.kind == "f"}
        self.usable: list[tuple[probes.Probe, Truth]] = []
        self.tried = 0
        # What fails for the right artifact, too, finds no fault.
        self._alarms: set[str] = set()
        with tempfile.TemporaryDirectory() as folder:
            self._alarms = set(self._checked(converted.artifact, Path(folder) / "check") or ())
        right = self._opened(converted.artifact)
        # The four cases are asked too: what they tell apart is a fault.
        all_probes = [probes.Probe(f"case {i} of before", q) for i, (q, _) in enumerate(self._before)]
        for probe in (*all_probes, *islice(probes.probes(subject), probes.MOST)):
            self.tried += 1
            exact = truth(eager, probe.inputs, usual)
            if exact is not None and not _differs(right, probe, exact):
                self.usable.append((probe, exact))
            if len(self.usable) == probes.LEAST + len(all_probes):
                return
        if len(self.usable) < probes.LEAST:
            raise RuntimeError(f"the right artifact agrees at {len(self.usable)} of {self.tried} varied inputs alone")

    @property
    def example(self) -> Arrays:
        return self._own_inputs(self._before[0][0])

    @property
    def another(self) -> Arrays:
        """The inputs of the last of the four sizes, the largest."""
        return self._own_inputs(self._before[-1][0])

    def of(self, apply: Callable[[Any], None], model: Any, folder: Path) -> Verdict:
        """The verdict on a model that was read anew, once a fault is in it.

        Args:
            apply: The fault.
            model: The model that it is done to.
            folder: For the artifact; emptied again.
        """
        mutant = replace(self._converted.artifact, folder=folder / "mutant")
        (folder / "mutant").mkdir(parents=True)
        try:
            try:
                apply(model)
                self._save(model, folder / "mutant")
                running = self._opened(mutant)
            except Exception:  # runtimes raise anything
                return Verdict(STILLBORN)
            if not any(_runs(running, inputs) for inputs, _ in self._before):
                return Verdict(STILLBORN)
            is_known = not before.agrees(running, self._before)
            if (failing := self._checked(mutant, folder / "check")) is not None:
                return Verdict(KILLED, is_known, failing)
            # Loaded anew: what it kept from the questions before is not to be judged.
            running = self._opened(mutant)
            for probe, exact in self.usable:
                if difference := _differs(running, probe, exact):
                    return Verdict(MISSED, is_known, [f"{probe.says}: {difference}"])
            return Verdict(MISSED, is_known, ["the four cases of before"]) if is_known else Verdict(EQUIVALENT)
        finally:
            shutil.rmtree(folder)

    def _opened(self, artifact: Artifact) -> Run:
        """The artifact, loaded; it takes the model's own types."""
        running = session.open_session(artifact, "float32")
        return lambda inputs: running(self._own_inputs(inputs))

    def _own_inputs(self, inputs: Arrays) -> Arrays:
        return {n: v.astype(self._takes[n]) for n, v in inputs.items()}

    def _checked(self, artifact: Artifact, folder: Path) -> list[str] | None:
        """The questions at which the check finds something; None where it agrees."""
        folder.mkdir()
        try:
            self._converted.check.run({"artifact": artifact, "reference": self._converted.reference}, folder)
        except DrydockError as e:
            failing = list(dict.fromkeys(question for question, _ in failed(e))) or ["does not run"]
            return [question for question in failing if question not in self._alarms] or None
        return None


def failed(error: DrydockError) -> list[tuple[str, str]]:
    """The questions that a failed check names, each with the output that was wrong; none twice."""
    return list(dict.fromkeys(LINE.findall(str(error))))


def _runs(running: Run, inputs: Arrays) -> bool:
    try:
        running(inputs)
    except Exception:  # a runtime raises anything
        return False
    return True


def _differs(running: Run, probe: probes.Probe, exact: Truth) -> str:
    try:
        return exact.told_apart(running(probe.inputs))
    except Exception:  # a runtime raises anything
        return "does not run"
