"""What a stage says beside its files, where the core reads it.

Notes are about one run of a stage, and stand in run.json and the store; facts travel with an artifact and are part of
its content. Both are plain JSON, and these are its types: a key that is misspelt, or of another type, fails the type
check of the stage, and what earlier versions wrote is read as it is. A stage with keys of its own extends the class:

    class Counted(Notes):
        nodes: int
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict


class Case(TypedDict):
    """One comparison with the model.

    Attributes:
        label: Which case of the reference it is.
        shape: Of the inputs, such as "2x3x224x224".
        max_rel: The largest error of any output, as a share of its largest value.
        family: How far its values are from what the YAML draws; see stages/reference/families.py.
        outputs: Every figure, by output.
        bound: By output, the share of its rms that the error may have, by the model's own error.
        differing: By output of whole numbers or truths, the share that are others.
        undetermined: By output that the model's own arithmetic determines less well than the constants ask, how well.
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
        runtime: What ran it.
        computes_in: What that says it computes in.
        properties: Its settings as read back.
        against: What it was compared with, such as "the PyTorch model".
        cases: What was compared.
        left_out: Labels of the reference's cases that the artifact does not take.
        not_judged: What lies outside where the model itself decides by rounding alone, a sentence each.
    """

    runtime: str
    computes_in: str
    properties: Mapping[str, str]
    against: str
    cases: Sequence[Case]
    left_out: Sequence[str]
    not_judged: NotRequired[Sequence[str]]


class Questions(TypedDict):
    """What a model was asked.

    Attributes:
        asked: Labels of the cases.
        not_asked: By family of values, why it was not.
        tables: By embedding table, how many of its rows were looked up, and how many there are.
        not_in_float64: Why there are no answers in float64; empty where there are.
    """

    asked: Sequence[str]
    not_asked: Mapping[str, str]
    tables: Mapping[str, Sequence[int]]
    not_in_float64: str


class Unchecked(TypedDict):
    """That an artifact runs, and was compared with nothing, and why."""

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
    """What was measured side by side.

    Attributes:
        artifact: The contender that is the artifact.
        contenders: Figures by contender; see stages/checking/contest.py.
        not_measured: Why others were not, by contender.
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
    """What was compared of a language model's tokens.

    Attributes:
        runtime: What ran it.
        by_ours: Why that is our own loop over the graph, and not the runtime that the folder is for; empty where it is.
        computes_in: What the graph says it computes in.
        properties: Its settings as read back.
        against: What it was compared with.
        equal: How many tokens are the same.
        open: How many were not compared, after a choice that is too close to call.
        own: How many of the equal ones come of prompts that the runtime does not take together, by our own loop.
        alike: Where some were not compared, how many the runtime has in common with our own loop over its graph.
        batches: How many are equal, by prompt.
        logits: How far logits are off at most, by prompt, as a share of the largest; empty where a runtime gives none.
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
    """How likely a language model finds texts.

    Attributes:
        value: Its perplexity.
        of_the_model: The PyTorch model's on the same texts.
        ratio: The one as a multiple of the other.
        max_ratio: What that may be; None where nothing was asked for.
        kl: Of what each expects next, in nats, the mean over all places.
        agreement: The share of places, in 0..1, where both have the same first choice.
        tokens: How many places there are.
        texts: What they are of: the model's own, or what was given.
        computes_in: What the graph says it computes in.
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
    """What a stage says of its run.

    Attributes:
        says: A line for the screen.
        caution: What a person should know before they rely on the result.
        claims: What a stage that passes its artifact on vouches for; see `pipeline.stage.Stage.run`.
        parity: Of a check.
        unchecked: Of a check that had nothing to compare with.
        questions: Of a reference.
        generation: Of a check of tokens.
        evaluation: Of a measured accuracy.
        perplexity: Of a language model, on texts.
        benchmark: Of a benchmark.
        audit: How many weights and operations there are of each type.
        file: Of a delivery: the name of the file that is the model.
        copies: Of a delivery: for each file's path, the path in the stored artifact that it is a copy of.
        instead: Of a way that served instead of what was chosen: by group, the option; see pipeline/planning/ways.py.
        refused: Of the same: why those before it did not, a line each.
        bundle: Of a delivery: whether it is one that can check itself.
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
        sha256: Of their file.
        seed: Of random ones.
    """

    says: str
    trained: NotRequired[bool]
    sha256: NotRequired[str | None]
    seed: NotRequired[int]


class Lowered(TypedDict):
    """What was done to weights, as `says`, and how."""

    says: str


class Facts(TypedDict, total=False):
    """What the core reads of an artifact's facts.

    Attributes:
        source: What the model is: its builder and "bytes", the size of its weights.
        weights: Where its weights came from.
        pruning: How weights were pruned.
        quantization: How weights, and what passes between operations, came to have few bits.
        interface: The inputs, outputs and dynamic dimensions; see stages/interface/interface.py.
    """

    source: Mapping[str, Any]
    weights: Weights
    pruning: Lowered
    quantization: Lowered
    interface: Mapping[str, Any]
