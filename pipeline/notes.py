"""The types of the notes and facts that a stage returns beside its files and the core reads.

Notes are about one run of a stage; run.json and the store keep them. Facts travel with an artifact and are part of its
content. Both are plain JSON. With these types, mypy reports a misspelt key or a value of another type in a stage. JSON
of earlier versions is read as it is. A stage with keys of its own extends the class:

    class Counted(Notes):
        nodes: int
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict


class Case(TypedDict):
    """One comparison with the model.

    Attributes:
        label: The label of the reference's case.
        shape: The shape of the inputs, such as "2x3x224x224".
        max_rel: The largest error of any output that rounding does not decide, as a share of its largest value.
        family: The family of its values, beside those that the YAML draws; see stages/reference/families.py.
        outputs: Every figure, by output.
        bound: By output, the allowed error as a share of the output's rms, derived from the model's own error.
        differing: By output of integers or booleans, the share of values that differ.
        undetermined: `bound` of the outputs where it is above `max_rel`: the model itself determines them no better.
    """

    label: NotRequired[str]
    shape: str
    max_rel: NotRequired[float]
    family: NotRequired[str]
    outputs: NotRequired[Mapping[str, Any]]
    bound: NotRequired[Mapping[str, float]]
    differing: NotRequired[Mapping[str, float]]
    undetermined: NotRequired[Mapping[str, float]]


class Parity(TypedDict):
    """How far an artifact is from the model.

    Attributes:
        runtime: The runtime that ran it.
        computes_in: The type that the runtime says it computes in.
        properties: The runtime's settings as read back.
        against: What it was compared with, such as "the PyTorch model".
        cases: The comparisons.
        left_out: Labels of the reference's cases that the artifact does not accept.
        not_judged: Differences that were not judged, since the model's own rounding decides there; a sentence each.
    """

    runtime: str
    computes_in: str
    properties: Mapping[str, str]
    against: str
    cases: Sequence[Case]
    left_out: Sequence[str]
    not_judged: NotRequired[Sequence[str]]


class Questions(TypedDict):
    """The questions of a reference: the cases that the model was run on.

    Attributes:
        asked: Labels of the cases.
        not_asked: By family of values that was left out, why.
        tables: By embedding table, how many of its rows were looked up, and how many there are.
        not_in_float64: Why there are no answers in float64; empty where there are.
    """

    asked: Sequence[str]
    not_asked: Mapping[str, str]
    tables: Mapping[str, Sequence[int]]
    not_in_float64: str


class Unchecked(TypedDict):
    """An artifact that runs and was compared with nothing, and why."""

    runtime: str
    computes_in: str
    against: str
    why: str
    cases: Sequence[Case]


class Evaluation(TypedDict):
    """An accuracy, in the metric's own units, beside the model's."""

    metric: str
    value: float
    of_the_model: float
    drop: float
    max_drop: float | None
    samples: int
    computes_in: str


class Benchmark(TypedDict):
    """The result of a benchmark, whose contenders are measured side by side.

    Attributes:
        artifact: The contender that is the artifact.
        contenders: Figures by contender; see stages/checking/contest.py.
        not_measured: By contender that was not measured, why.
        table: The lines that a person reads.
    """

    artifact: str
    case: Mapping[str, Any]
    threads: int | None
    rounds: int
    seconds: float
    warmup: int
    contenders: Mapping[str, Mapping[str, Any]]
    not_measured: Mapping[str, str]
    table: Sequence[str]


# How many times the median the slowest of a hundred inferences may take, before a figure is noise.
TAIL = 2.0


def noise(figures: Mapping[str, Any]) -> str:
    """Why the figures of one contender of a benchmark support no claim, in words; empty where they are quiet.

    They are noisy where the medians of their blocks differ by more than the benchmark allows (`noisy_above`), or where
    p99 is more than TAIL times p50: on a quiet machine both stay far below.
    """
    says = (
        [f"spread {figures['spread']:.0%}" if "spread" in figures else "its blocks differ"] if figures["noisy"] else []
    )
    tail = figures.get("p99_ms", 0.0) / max(figures["p50_ms"], 1e-9)
    return ", ".join([*says, *([f"p99 {tail:.3g}× p50"] if tail > TAIL else [])])


class Generation(TypedDict):
    """The comparison of a language model's tokens.

    Attributes:
        runtime: The runtime that generated the tokens.
        by_ours: Why our own loop over the graph generated them instead of the folder's runtime; empty where it did not.
        computes_in: The type that the graph says it computes in.
        properties: The runtime's settings as read back.
        against: What it was compared with.
        equal: How many tokens are equal.
        open: How many tokens were not compared, since they follow a choice that is too close to call.
        own: How many of the equal tokens our own loop generated, for prompts that the runtime cannot batch.
        alike: Of the tokens that were not compared, how many the runtime and our own loop over its graph share.
        batches: By prompt, how many tokens are equal.
        logits: By prompt, the largest error of logits as a share of the largest; empty where a runtime gives none.
    """

    runtime: str
    by_ours: str
    computes_in: str
    properties: Mapping[str, str]
    against: str
    equal: int
    open: int
    own: int
    alike: int
    batches: Mapping[str, int]
    logits: Mapping[str, float]


class Perplexity(TypedDict):
    """A language model's perplexity on texts.

    Attributes:
        value: Its perplexity.
        of_the_model: The PyTorch model's on the same texts.
        ratio: Its perplexity divided by the model's.
        max_ratio: The largest ratio that is allowed; None for no limit.
        kl: The Kullback-Leibler divergence of the next token's distribution, in nats, the mean over all positions.
        agreement: The share of positions, in 0..1, where both have the same first choice.
        tokens: The number of positions.
        texts: Where the texts come from: the model's own, or given ones.
        computes_in: The type that the graph says it computes in.
        properties: Its runtime's settings as read back.
    """

    value: float
    of_the_model: float
    ratio: float
    max_ratio: float | None
    kl: float
    agreement: float
    tokens: int
    texts: str
    computes_in: str
    properties: Mapping[str, str]


class Notes(TypedDict, total=False):
    """The notes of a stage about its run.

    Attributes:
        says: A line for the screen.
        caution: What a person should know before they rely on the result.
        claims: What the stage vouches for; see `pipeline.stage.Stage.run`.
        parity: A check's comparison.
        unchecked: A check that had nothing to compare with.
        questions: A reference's questions.
        generation: A comparison of tokens.
        evaluation: A measured accuracy.
        perplexity: A language model's perplexity on texts.
        benchmark: A benchmark's result.
        audit: How many weights and operations there are of each type.
        file: A delivery's model file, by name.
        copies: A delivery's files: each path, and the path in the stored artifact that it is a copy of.
        instead: The alternative that served instead of the choice: option by group; see pipeline/planning/ways.py.
        refused: Why the choices before that alternative did not serve, a line each.
        bundle: Whether a delivery is a bundle, which can check itself.
    """

    says: str
    caution: str
    claims: Mapping[str, Any]
    parity: Parity
    unchecked: Unchecked
    questions: Questions
    generation: Generation
    evaluation: Evaluation
    perplexity: Perplexity
    benchmark: Benchmark
    audit: Mapping[str, Mapping[str, int]]
    file: str
    copies: Mapping[str, str]
    instead: Mapping[str, str]
    refused: Sequence[str]
    bundle: bool


class Weights(TypedDict):
    """Where weights came from.

    Attributes:
        says: A line for the screen.
        trained: Whether they are trained; False for random ones.
        sha256: The SHA-256 of their file.
        seed: The seed of random weights.
    """

    says: str
    trained: NotRequired[bool]
    sha256: NotRequired[str | None]
    seed: NotRequired[int]


class Lowered(TypedDict):
    """How weights were reduced: a line for the screen, `says`, and the settings."""

    says: str


class Facts(TypedDict, total=False):
    """The facts of an artifact that the core reads.

    Attributes:
        source: The model's builder, and "bytes", the size of its weights.
        weights: Where its weights came from.
        pruning: How weights were pruned.
        quantization: How weights and activations were quantized.
        interface: The inputs, outputs and dynamic dimensions; see stages/interface/interface.py.
    """

    source: Mapping[str, Any]
    weights: Weights
    pruning: Lowered
    quantization: Lowered
    interface: Mapping[str, Any]
