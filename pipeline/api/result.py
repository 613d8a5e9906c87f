"""The results of a conversion by Python."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pipeline import formats
from pipeline.artifact import Artifact
from pipeline.errors import ConfigError
from pipeline.formats import Kind
from pipeline.planning.ways import Served
from pipeline.running.outcome import Outcome, Result
from pipeline.terminal import console


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Args:
        stage: Its name in the graph.
        worst: The worst relative error of the delivered artifact: the largest difference from the PyTorch model's
            answers over the largest of these; None where nothing could answer for it.
        questions: The number of input sets that were compared.
        says: The check's own sentence.
    """

    stage: str
    worst: float | None
    questions: int
    says: str


@dataclass(frozen=True)
class Conversion:
    """A finished conversion.

    Args:
        path: The artifact: a file, or a folder of the format that it is.
        record: How it was made and which checks it passed; the artifact carries it too.
        stages: The outcome of each stage, in order.
        run_file: run.json, with all that is known of this run.
        seconds: How long it took.
        content: Opens the delivered artifact in the store.
        served: The capture or route that worked where the choice failed, and why; None where the choice worked.
    """

    path: Path
    record: Mapping[str, Any]
    stages: Sequence[Outcome]
    run_file: Path
    seconds: float
    content: Callable[[], Artifact] = field(repr=False, compare=False)
    served: Served | None = None

    @property
    def kind(self) -> str:
        """The format of the artifact, by the name that its target has."""
        return str(self.record["kind"])

    @property
    def digest(self) -> str:
        """The digest of the artifact's content, 64 hex digits."""
        return str(self.record["digest"])

    @property
    def checks(self) -> list[Check]:
        """The checks of what was delivered; empty where none looked at it."""
        checks = []
        for outcome in self.stages:
            notes = outcome.notes.get("parity") or outcome.notes.get("unchecked")
            if notes and outcome.digest == self.digest:
                errors = [case["max_rel"] for case in notes["cases"] if "max_rel" in case]
                worst = max(errors) if errors else None
                checks.append(Check(outcome.name, worst, len(notes["cases"]), str(outcome.notes.get("says", ""))))
        return checks

    @property
    def cautions(self) -> list[str]:
        """The stages' cautions, and everything that was NOT CHECKED, each with its stage."""
        return [f"{o.name}: {o.notes['caution']}" for o in self.stages if o.notes.get("caution")]

    @property
    def figures(self) -> dict[str, Any]:
        """The measurements by stage: benchmarks, evaluations and perplexities, as in run.json."""
        notes: Mapping[str, Mapping[str, Any]] = {o.name: {**o.notes} for o in self.stages}
        measured = ("benchmark", "evaluation", "perplexity")
        return {
            stage: stage_notes[name] for stage, stage_notes in notes.items() for name in measured if name in stage_notes
        }

    @property
    def summary(self) -> list[tuple[str, str]]:
        """The closing lines of a run, as names and texts."""
        return console.summary(Result(self.stages, self.path, self.record, self.served), self.seconds)

    def load(self) -> Loaded:
        """The delivered artifact, loaded from the store into its own runtime on this machine's CPU.

        Raises:
            ConfigError: For a kind that no runtime opens.
            Damaged: Where the store no longer has it.
            ImportError: Where its runtime is not installed.
        """
        if (kind := Kind(self.kind)) not in formats.kinds("runtime"):
            raise ConfigError(f"{self.path} is no file that a runtime here opens: {kind}")
        artifact = self.content()
        compute = [c["parity"]["compute"] for c in self.record["checks"] if "parity" in c]
        how = SimpleNamespace(
            compute=[*compute, "float32"][0 if compute else -1], threads=None, properties={}, extensions=[]
        )
        return Loaded(
            formats.part(kind, "runtime").open_session(artifact, how),
            [port["name"] for port in artifact.facts["interface"]["inputs"]],
        )

    def __str__(self) -> str:
        return "\n".join(f"{name:<9} {text}" for name, text in self.summary)

    def _repr_html_(self) -> str:
        """HTML for notebooks."""
        cells = ((html.escape(name), html.escape(text)) for name, text in self.summary)
        rows = "".join(
            f"<tr><th style='text-align:left'>{n}</th><td style='text-align:left'>{t}</td></tr>" for n, t in cells
        )
        return f"<table>{rows}</table>"


class Loaded:
    """An artifact, to be called with arrays or tensors: in order, or by the names of its inputs.

    Attributes:
        names: The inputs' names, in order.
    """

    def __init__(self, session: Any, names: Sequence[str]) -> None:
        self._session = session
        self.names = list(names)

    def __call__(self, *inputs: Any, **by_name: Any) -> dict[str, Any]:
        """The outputs by name, as numpy arrays. Raises TypeError for other inputs than it has."""
        arguments = dict(zip(self.names, inputs, strict=False)) | by_name
        if len(inputs) > len(self.names) or sorted(arguments) != sorted(self.names):
            raise TypeError(
                f"it takes {', '.join(self.names)}, and got {len(inputs)} in order and {sorted(by_name)} by name"
            )
        arrays = {
            name: value.detach().cpu().numpy() if hasattr(value, "detach") else value
            for name, value in arguments.items()
        }
        return dict(self._session(arrays))
