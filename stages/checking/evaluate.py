"""Measures an artifact's accuracy on labelled samples beside the PyTorch model's, and fails when it drops too far."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Optional

from pipeline import formats
from pipeline.artifact import Artifact, Kind
from pipeline.errors import CheckFailed
from pipeline.notes import Evaluation
from pipeline.stage import AtLeast
from stages.checking import blame as layer_blame
from stages.formats import session
from stages.formats.extensions import Extensions
from stages.formats.running import COMPUTE, Running
from stages.samples import files as sample_files
from stages.samples import metrics
from stages.samples.metrics import Metric


@dataclass(frozen=True)
class Evaluate(Running):
    """A metric of the artifact's answers and of the model's; `max_drop` is a gate. The artifact passes unchanged.

    Args:
        metric: top1, or the dotted path of a function; see stages/samples/metrics.py. More is better.
        max_drop: How far below the model's it may be; None measures only, and nothing fails.
        compute: The type that the artifact must compute in; set and read back.
        properties: The runtime's own settings by its own names; each is read back.
        extensions: Operations that the runtime does not have by itself; see compile_openvino.
        blame: Whether to look for the layers that cause the error even where the gate passes.
    """

    metric: Annotated[str, Metric()]
    # OmegaConf 2.3 reads Optional, not X | None.
    max_drop: Annotated[Optional[float], AtLeast(0, "0 or more, in the metric's own units")]
    compute: Annotated[str, COMPUTE]
    properties: dict[str, str]
    extensions: Annotated[list[str], Extensions()]
    blame: bool

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "artifact": formats.kinds("runtime") - session.ON_REQUEST,
        "answers": frozenset({Kind.ANSWERS}),
        "calibration": frozenset({Kind.SAMPLES}),
    }
    optional: ClassVar[frozenset[str]] = frozenset({"calibration"})
    produces: ClassVar[Kind | str] = "artifact"
    requires: ClassVar[tuple[str, ...]] = ("numpy", "safetensors")
    isolable: ClassVar[bool] = True

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        import numpy as np

        artifact, samples = inputs["artifact"], sample_files.read(inputs["answers"])
        if "calibration" in inputs:
            sample_files.keep_apart(samples, sample_files.read(inputs["calibration"]))
        assert samples.labels is not None
        running = session.open_session(artifact, self.compute, properties=self.properties, extensions=self.extensions)
        ours: dict[str, list[Any]] = {}
        theirs: dict[str, list[Any]] = {}
        for arrays, answers, count in sample_files.fed(artifact, samples):
            for outputs, into in ((running(arrays), ours), (answers, theirs)):
                for name in answers:
                    into.setdefault(name, []).append(outputs[name][:count])
        session.must_compute_in(self.compute, running.computes_in)
        _demand_numbers(ours, theirs, artifact)
        value, models_value = (
            metrics.measured(self.metric, {n: np.concatenate(v) for n, v in outputs.items()}, samples.labels, subject)
            for outputs, subject in ((ours, f"this {artifact.kind}"), (theirs, "the PyTorch model"))
        )
        drop = models_value - value
        says = f"{self.metric} {value:.4g}, the PyTorch model's {models_value:.4g}, of {len(samples)} samples"
        # Shares are rounded: 0.8 - 0.7 is more than 0.1.
        fails = self.max_drop is not None and drop > self.max_drop and not math.isclose(drop, self.max_drop)
        blamed = self._blamed(artifact, samples) if self.blame or fails else None
        if fails:
            raise CheckFailed(
                f"{says}: dropped by {drop:.4g}" + (blamed.sentence if blamed else ""),
                allowed=f"a drop of {self.max_drop:g} at most",
                command=blamed.command if blamed else "another precision, or stages.evaluate.max_drop=…",
            )
        evaluation = Evaluation(
            metric=self.metric,
            value=value,
            of_the_model=models_value,
            drop=drop,
            max_drop=self.max_drop,
            samples=len(samples),
            computes_in=running.computes_in,
        )
        claimed = {"metric": self.metric, "samples": len(samples), "max_drop": self.max_drop}
        notes = layer_blame.BlameNotes(says=says, evaluation=evaluation, claims={"accuracy": claimed})
        if blamed:
            notes.update(blamed.notes)
        if self.metric == metrics.TOP1 and models_value <= 2 / max(
            v[0].shape[-1] for v in theirs.values() if v[0].ndim
        ):
            notes["caution"] = f"the PyTorch model itself has {says}: are the labels its own?"
        return replace(artifact, notes=notes)

    def _blamed(self, artifact: Artifact, samples: sample_files.Samples) -> layer_blame.Blamed | None:
        arrays, _, _ = next(sample_files.fed(artifact, samples, most=8))
        return layer_blame.layers(artifact, arrays, self.compute, self.extensions)


def _demand_numbers(ours: Mapping[str, list[Any]], theirs: Mapping[str, list[Any]], artifact: Artifact) -> None:
    """Raises CheckFailed for NaN and infinities where the model has numbers: a metric might count them as answers."""
    import numpy as np

    for name, values in theirs.items():
        if values[0].dtype.kind == "f":
            odd = sum(int((~np.isfinite(a) & np.isfinite(b)).sum()) for a, b in zip(ours[name], values, strict=True))
            if odd:
                raise CheckFailed(
                    f"this {artifact.kind} answers NaN or infinities to {odd} numbers of '{name}' that the model has",
                    allowed="numbers wherever the PyTorch model answers numbers",
                    command="another precision, or stages.NAME.ignored for what overflows",
                )
