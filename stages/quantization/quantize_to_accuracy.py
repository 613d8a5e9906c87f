"""Quantises to 8 bits, and puts operations back into floating point until a metric has dropped little enough."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Optional, Self

from pipeline.artifact import Artifact, Kind
from pipeline.errors import CheckFailed, Problem, StageError
from pipeline.stage import SameKindAs, Stage, World
from stages.formats.ignored import Ignored
from stages.openvino import library as openvino_library
from stages.quantization import nncf as nncf_library
from stages.quantization.nncf import Feed
from stages.samples import files as sample_files
from stages.samples import metrics


@dataclass(frozen=True)
class QuantizeToAccuracy(Stage):
    """nncf.quantize_with_accuracy_control: as `quantize`, with a metric on labelled samples that is held.

    Args:
        metric: top1, or the dotted path of a function; see stages/samples/metrics.py. More is better.
        max_drop: How far it may fall below the graph's own before it was quantised, above 0.
        preset: See `quantize`, and for the next six.
        model_type: Likewise.
        target_device: Likewise.
        fast_bias_correction: Likewise.
        symmetric: Likewise.
        ignored: Likewise.
        extensions: Likewise.
        graph_opset: Likewise.

    Source: https://docs.openvino.ai/2026/openvino-workflow/model-optimization-guide/quantizing-models-post-training/quantizing-with-accuracy-control.html
    """

    metric: str
    max_drop: float
    preset: Optional[str]
    model_type: Optional[str]
    target_device: str
    fast_bias_correction: bool
    symmetric: bool
    ignored: Ignored
    extensions: list[str]
    graph_opset: Optional[int]

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "graph": nncf_library.GRAPHS,
        "samples": frozenset({Kind.SAMPLES}),
        "answers": frozenset({Kind.ANSWERS}),
    }
    produces: ClassVar[Kind | str | SameKindAs] = SameKindAs("graph")
    requires: ClassVar[tuple[str, ...]] = ("nncf", "numpy", "safetensors")
    repeatable: ClassVar[bool] = False
    isolable: ClassVar[bool] = True

    def modules(self, kinds: Mapping[str, Kind]) -> tuple[str, ...]:
        return (*self.requires, *nncf_library.BY_KIND.get(kinds.get("graph", Kind.FILE), ()))

    def problems(self) -> list[Problem]:
        found = [
            *metrics.problems(self.metric),
            *nncf_library.opset_problems("int8", self.graph_opset, nncf_library.INT8_OPSETS),
            *nncf_library.scheme_problems(self.preset, self.model_type, self.target_device),
            *self.ignored.problems(),
            *openvino_library.problems(self.extensions),
        ]
        if not 0 < self.max_drop < float("inf"):
            found.append(Problem(f"max_drop is {self.max_drop}", allowed="above 0, in the metric's own units"))
        return found

    def files(self) -> frozenset[str]:
        return openvino_library.files(self.extensions)

    def settle(self, world: World) -> Self:
        self.identity(world)  # raises for a metric or an extension that is not there
        return self

    def identity(self, world: World) -> Mapping[str, Any]:
        settings = {n: v for n, v in asdict(self).items() if n != "graph_opset"}
        told = {**settings, **metrics.identity(self.metric, world)}
        return {**told, "extensions": openvino_library.identity(self.extensions, world)}

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        source, labelled = inputs["graph"], sample_files.read(inputs["answers"])
        nncf_library.hold_opset("int8", source, nncf_library.INT8_OPSETS)
        nncf_library.hold_device(self.target_device, source)
        calibration = sample_files.read(inputs["samples"])
        sample_files.keep_apart(labelled, calibration)
        feed = Feed(source, calibration)
        items = list(sample_files.fed(source, labelled, most=1))
        # Each with its labels, as NNCF hands some of them to the metric.
        starts = [0, *itertools.accumulate(count for *_, count in items)][:-1]
        assert labelled.labels is not None
        rows = [(given, labelled.labels[at : at + n]) for at, (given, _, n) in zip(starts, items, strict=True)]
        whole: list[float] = []
        exact: list[dict[str, Any]] = []

        def measured(model: Any, some: Iterable[Any]) -> tuple[float, list[float] | None]:
            given = list(some)
            answers = _answers(model, given)
            if len(given) < len(rows):
                return _of_some(self.metric, answers, given), None
            whole.append(_measured(self.metric, answers, given))
            exact.extend([] if exact else answers)
            return whole[-1], _each(self.metric, answers, given, exact)

        def quantized(nncf: Any, model: Any, scope: Any) -> Any:
            made = nncf.quantize_with_accuracy_control(
                model,
                nncf.Dataset(feed),
                nncf.Dataset(rows, lambda row: dict(row[0])),
                measured,
                max_drop=self.max_drop,
                subset_size=len(calibration),
                fast_bias_correction=self.fast_bias_correction,
                ignored_scope=scope,
                advanced_quantization_parameters=nncf_library.advanced(nncf, source, self.symmetric),
                **nncf_library.scheme(nncf, self.preset, self.model_type, self.target_device),
            )
            self._hold(whole)
            return nncf_library.signed(made) if self.symmetric and source.kind is Kind.ONNX else made

        settings = {n: v for n, v in asdict(self).items() if n not in ("ignored", "extensions", "graph_opset")}
        besides = nncf_library.formless(source, nncf_library.INT8_FORMLESS)
        if self.symmetric and self.model_type == "transformer" and source.kind is Kind.ONNX:
            besides += nncf_library.attention(source)
        facts = nncf_library.facts("int8", settings, inputs["samples"])
        made = nncf_library.lowered(source, quantized, self.ignored, facts, folder, self.extensions, feed, besides)
        return made.noting(says=f"{made.notes['says']}; {self.metric} {whole[-1]:.4g}, {whole[0]:.4g} before")

    def _hold(self, measured: Sequence[float]) -> None:
        """Raises CheckFailed for a drop that is too large: NNCF says nothing when it has put back all there is.

        Args:
            measured: The metric of the graph before it was quantised, and of all that NNCF tried, the result last.
        """
        before, after = measured[0], measured[-1]
        if before - after > self.max_drop:
            raise CheckFailed(
                f"{self.metric} dropped by {before - after:.4g} to {after:.4g}, whatever was put back",
                allowed=f"a drop of {self.max_drop:g} at most",
                command="stages.quantize.max_drop=…, or a metric that says the same of the same answers",
            )


def _answers(model: Any, rows: Sequence[Any]) -> list[dict[str, Any]]:
    """What a model that NNCF tries says to each of the rows: a compiled IR, or an ONNX graph in memory."""
    if hasattr(model, "SerializeToString"):
        import onnxruntime

        running = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        names = [o.name for o in running.get_outputs()]
        return [dict(zip(names, running.run(names, dict(given)), strict=True)) for given, _ in rows]
    return [{p.any_name: told[p].copy() for p in model.outputs} for given, _ in rows for told in [model(dict(given))]]


def _measured(metric: str, answers: Sequence[Mapping[str, Any]], rows: Sequence[Any]) -> float:
    import numpy as np

    counts = [len(labels) for _, labels in rows]
    outputs = {n: np.concatenate([a[n][:c] for a, c in zip(answers, counts, strict=True)]) for n in answers[0]}
    return metrics.measured(metric, outputs, np.concatenate([labels for _, labels in rows]), "a quantised graph")


def _of_some(metric: str, answers: Sequence[Mapping[str, Any]], rows: Sequence[Any]) -> float:
    """Likewise; 0 where the metric takes more samples than these: NNCF begins with one to see what comes of it."""
    try:
        return _measured(metric, answers, rows)
    except StageError:
        return 0.0


def _each(
    metric: str, answers: Sequence[Mapping[str, Any]], rows: Sequence[Any], exact: Sequence[Mapping[str, Any]]
) -> list[float]:
    """How good each answer is, for NNCF to find the samples that tell models apart.

    The metric of a sample by itself; of a metric that takes more than one, how near the answer is to what the graph
    says before it is quantised.
    """
    import numpy as np

    try:
        return [_measured(metric, [answer], [row]) for answer, row in zip(answers, rows, strict=True)]
    except StageError:
        pairs = zip(answers, exact, strict=True)
        return [-sum(float(np.linalg.norm(told[n] - wanted[n])) for n in wanted) for told, wanted in pairs]
