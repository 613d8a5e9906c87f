"""Quantises to 8 bits, and restores operations to floating point until a metric's drop is small enough."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pipeline.artifact import Artifact, Kind
from pipeline.errors import CheckFailed, StageError
from pipeline.stage import Above
from stages.quantization.settings import Int8
from stages.samples import files as sample_files
from stages.samples import metrics
from stages.samples.metrics import Metric


@dataclass(frozen=True)
class QuantizeToAccuracy(Int8):
    """nncf.quantize_with_accuracy_control: as `quantize`, with a limit on the drop of a metric on labelled samples.

    Args: see stages/quantization/settings.py, and:
        metric: top1, or the dotted path of a function; see stages/samples/metrics.py. More is better.
        max_drop: How far it may fall below the metric of the graph before quantisation, above 0.

    Source: https://docs.openvino.ai/2026/openvino-workflow/model-optimization-guide/quantizing-models-post-training/quantizing-with-accuracy-control.html
    """

    metric: Annotated[str, Metric()]
    max_drop: Annotated[float, Above(0, "above 0, in the metric's own units")]

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {**Int8.consumes, "answers": frozenset({Kind.ANSWERS})}
    repeatable: ClassVar[bool] = False

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        feed, labelled = self.feed(inputs), sample_files.read(inputs["answers"])
        sample_files.keep_apart(labelled, feed.samples)
        items = list(sample_files.fed(inputs["graph"], labelled, most=1))
        # Each with its labels, since NNCF passes some of them to the metric.
        starts = [0, *itertools.accumulate(count for *_, count in items)][:-1]
        assert labelled.labels is not None
        rows = [(arrays, labelled.labels[at : at + n]) for at, (arrays, _, n) in zip(starts, items, strict=True)]
        whole: list[float] = []
        exact: list[dict[str, Any]] = []

        def measured(model: Any, some: Iterable[Any]) -> tuple[float, list[float] | None]:
            chosen = list(some)
            answers = _answers(model, chosen)
            if len(chosen) < len(rows):
                return _of_some(self.metric, answers, chosen), None
            whole.append(_measured(self.metric, answers, chosen))
            exact.extend([] if exact else answers)
            return whole[-1], _each(self.metric, answers, chosen, exact)

        def quantize(nncf: Any, model: Any, advanced: Any, **how: Any) -> Any:
            result = nncf.quantize_with_accuracy_control(
                model,
                nncf.Dataset(feed),
                nncf.Dataset(rows, lambda row: dict(row[0])),
                measured,
                max_drop=self.max_drop,
                advanced_quantization_parameters=advanced,
                **how,
            )
            self._check_drop(whole)
            return result

        settings = {n: v for n, v in asdict(self).items() if n not in ("ignored", "extensions", "graph_opset")}
        result = self.quantized(quantize, inputs, feed, settings, folder)
        return result.noting(says=f"{result.notes['says']}; {self.metric} {whole[-1]:.4g}, {whole[0]:.4g} before")

    def _check_drop(self, measured: Sequence[float]) -> None:
        """Raises CheckFailed for a drop that is too large: NNCF gives no error when it has restored everything.

        Args:
            measured: The metric of the graph before quantisation, and of all that NNCF tried, the result last.
        """
        before, after = measured[0], measured[-1]
        if before - after > self.max_drop:
            raise CheckFailed(
                f"{self.metric} dropped by {before - after:.4g} to {after:.4g}, whatever operations were restored",
                allowed=f"a drop of {self.max_drop:g} at most",
                command="stages.quantize.max_drop=…, or a metric that gives equal answers the same value",
            )


def _answers(model: Any, rows: Sequence[Any]) -> list[dict[str, Any]]:
    """The answers to each row of a model that NNCF tries: a compiled IR, or an ONNX graph in memory."""
    if hasattr(model, "SerializeToString"):
        import onnxruntime

        running = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        names = [o.name for o in running.get_outputs()]
        return [dict(zip(names, running.run(names, dict(arrays)), strict=True)) for arrays, _ in rows]
    return [
        {p.any_name: outputs[p].copy() for p in model.outputs}
        for arrays, _ in rows
        for outputs in [model(dict(arrays))]
    ]


def _measured(metric: str, answers: Sequence[Mapping[str, Any]], rows: Sequence[Any]) -> float:
    import numpy as np

    counts = [len(labels) for _, labels in rows]
    outputs = {n: np.concatenate([a[n][:c] for a, c in zip(answers, counts, strict=True)]) for n in answers[0]}
    return metrics.measured(metric, outputs, np.concatenate([labels for _, labels in rows]), "a quantised graph")


def _of_some(metric: str, answers: Sequence[Mapping[str, Any]], rows: Sequence[Any]) -> float:
    """The metric of some rows; 0 where it needs more samples: NNCF begins with one row as a test."""
    try:
        return _measured(metric, answers, rows)
    except StageError:
        return 0.0


def _each(
    metric: str, answers: Sequence[Mapping[str, Any]], rows: Sequence[Any], exact: Sequence[Mapping[str, Any]]
) -> list[float]:
    """The quality of each answer, with which NNCF finds the samples that distinguish models.

    The metric of a sample by itself; for a metric that needs more than one sample, how near the answer is to that of
    the graph before quantisation.
    """
    import numpy as np

    try:
        return [_measured(metric, [answer], [row]) for answer, row in zip(answers, rows, strict=True)]
    except StageError:
        pairs = zip(answers, exact, strict=True)
        return [-sum(float(np.linalg.norm(ours[n] - expected[n])) for n in expected) for ours, expected in pairs]
