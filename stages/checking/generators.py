"""Measures how fast a language model's folder is beside PyTorch: first token, prompt and decoding.

Each contender is two processes: one generates a single token, the other one more than were recorded. The difference is
the time of the other tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import formats
from pipeline.artifact import Artifact
from pipeline.errors import StageError, listed, nearest
from pipeline.notes import Benchmark as Measured
from pipeline.notes import noise
from stages.checking import jobs
from stages.checking.contender import Job
from stages.checking.contest import Contender, Figures, claim, in_turn
from stages.formats import session
from stages.formats.session import How
from stages.interface.generation import FACT
from stages.portable import generating
from stages.portable.generating import Batch, TokenRecord

MIB = 2**20
# By name, so that a key has their code.
FOLDER, EAGER = "stages.generation.session", "stages.generation.eager"
FIRST, ALL = " first", ""  # what is added to a contender's name


@dataclass(frozen=True)
class Pace:
    """How long is measured; see `stages.checking.benchmark.Benchmark`."""

    rounds: int
    seconds: float
    warmup: int
    noisy_above: float


def measured(
    inputs: Mapping[str, Artifact], label: str | None, how: How, pace: Pace, against: Sequence[str], folder: Path
) -> Artifact:
    """The folder with the measurements in its notes. Raises StageError, CheckFailed.

    Args:
        inputs: The folder as "artifact", "tokens", the "reference", and the "module" that it was made from, if there is
            one.
        label: The prompt's label; None for the longest prompt that is alone in a batch.
        how: How the folder is run.
        pace: How long to measure.
        against: What is measured beside it: eager. Others are reported as not measured.
        folder: For files.
    """
    artifact, record = inputs["artifact"], generating.read_tokens(inputs["tokens"].file)
    batch = _batch(record, label)
    ours = formats.part(artifact.kind, "generation").REQUIRES[0]
    jobs_by_name, missing = _jobs(inputs, ours, batch, record, how, against, folder)
    with ExitStack() as running:
        started = [running.enter_context(Contender(name, job, folder)) for name, job in jobs_by_name.items()]
        refused = {c.name: str(c.ready["refused"]) for c in started if "refused" in c.ready}
        for name in (ours + FIRST, ours + ALL):
            if name in refused:
                raise StageError(f"this {artifact.kind} cannot be run: {refused[name]}")
        session.must_compute_in(how.compute, started[0].ready["computes_in"])
        missing |= {name.removesuffix(FIRST): why for name, why in refused.items()}
        contenders = [c for c in started if c.name.removesuffix(FIRST) not in missing]
        blocks, peaks = in_turn(contenders, pace.rounds, pace.seconds, pace.warmup)
    rows, length = len(batch.prompts), max(map(len, batch.prompts))
    measurements = {
        c.name: {
            **_figures(blocks[c.name + FIRST], blocks[c.name], batch, record, pace),
            **c.ready,
            "peak_bytes": peaks[c.name],
            "disk_bytes": jobs.disk_bytes(jobs_by_name[c.name]),
        }
        for c in contenders
        if not c.name.endswith(FIRST)
    }
    result = Measured(
        artifact=ours,
        case={
            "label": batch.label,
            "shapes": f"{rows}x{length} tokens, {record.new} follow",
            "items": rows * record.new,
        },
        threads=how.threads,
        rounds=pace.rounds,
        seconds=pace.seconds,
        warmup=pace.warmup,
        contenders=measurements,
        not_measured=missing,
        table=[],
    )
    result["table"] = _table(result)
    return artifact.noting(says=_headline(ours, measurements), benchmark=result)


def _batch(record: TokenRecord, label: str | None) -> Batch:
    labels = {b.label: b for b in record.batches}
    alone = [b for b in record.batches if len(b.prompts) == 1]
    chosen = max(alone, key=lambda b: len(b.prompts[0])).label if label is None else label
    if chosen not in labels:
        raise StageError(
            f"case is {label}, and no prompt of that label was asked{nearest(str(label), labels)}",
            allowed=listed(labels),
            command=f"'stages.benchmark.case={next(iter(labels))}'",
        )
    return labels[chosen]


def _jobs(
    inputs: Mapping[str, Artifact],
    ours: str,
    batch: Batch,
    record: TokenRecord,
    how: How,
    against: Sequence[str],
    folder: Path,
) -> tuple[dict[str, Job], dict[str, str]]:
    """The job of each process, the folder's first, and why others are not measured, by name."""
    import numpy as np

    models, missing = {ours: (FOLDER, inputs["artifact"])}, {}
    for name in against:
        if name == "eager" and "module" in inputs:
            models[name] = (EAGER, inputs["module"])
        else:
            why = "there is no PyTorch module" if name == "eager" else "it generates no text by itself"
            missing[name] = why
    ids, _ = generating.padded(batch.prompts, record.fills)
    commands: dict[str, Job] = {}
    written: dict[int, tuple[Path, str]] = {}
    for name, (runtime, model) in models.items():
        home, why = jobs.home(model, folder, written)
        if why:
            missing[name] = why
            continue
        # Without tokens that end a text, every run has the same number of steps.
        interface_facts = session.with_interface(model, inputs["reference"]).facts
        facts = {**interface_facts, FACT: {**inputs["artifact"].facts[FACT], "eos": []}}
        for suffix, new in ((FIRST, 1), (ALL, 1 + record.new)):
            arrays = {"prompts": ids, "new": np.array([new])}
            commands[name + suffix] = Job(
                runtime=runtime,
                kind=model.kind,
                folder=str(home),
                facts=facts,
                compute=how.compute,
                threads=how.threads or 1,
                properties=dict(how.properties) if name == ours else {},
                extensions=list(how.extensions) if name == ours else [],
                inputs=list(arrays),
                arrays=str(jobs.write_arrays(arrays, folder / f"{name}{suffix}.safetensors")),
            )
    return commands, missing


def _figures(
    first: Sequence[Sequence[float]], whole: Sequence[Sequence[float]], batch: Batch, record: TokenRecord, pace: Pace
) -> dict[str, Any]:
    rows, tokens = len(batch.prompts), sum(map(len, batch.prompts))
    one = Figures.from_blocks(first, rows, pace.noisy_above)
    all_ = Figures.from_blocks(whole, rows * (1 + record.new), pace.noisy_above)
    rest = max(all_.p50_ms - one.p50_ms, 1e-6)
    return {
        **all_.plain,
        "noisy": all_.noisy or one.noisy,
        "first_token_ms": one.p50_ms,
        "prompt_tokens_per_second": tokens / (one.p50_ms / 1e3),
        "decoding_tokens_per_second": rows * record.new / (rest / 1e3),
    }


def _headline(ours: str, measurements: Mapping[str, Mapping[str, Any]]) -> str:
    """The stage's line: "first token 3.1 ms, then 410 tokens/s, 1.90× the speed of eager PyTorch"."""
    figures = measurements[ours]
    text = f"first token {figures['first_token_ms']:.3g} ms, then {figures['decoding_tokens_per_second']:.4g} tokens/s"
    compared = ""
    if "eager" in measurements:
        share = figures["decoding_tokens_per_second"] / measurements["eager"]["decoding_tokens_per_second"]
        compared = f", {share:.2f}× the speed of eager PyTorch"
    return claim(text, compared, measurements)


def _table(measurement: Measured) -> list[str]:
    """For the summary: what was run, a line for each contender, and one for each that was not measured."""
    threads = measurement["threads"]
    return [
        f"{measurement['case']['shapes']}, {threads} thread{'s' * (threads != 1)}, {measurement['rounds']} rounds of "
        f"{measurement['seconds']:g} s in turn",
        *(_row(name, figures) for name, figures in measurement["contenders"].items()),
        *(f"{name:<17} not measured: {why}" for name, why in measurement["not_measured"].items()),
    ]


def _row(name: str, figures: Mapping[str, Any]) -> str:
    """A contender's line of the summary."""
    return (
        f"{name:<17} first token {figures['first_token_ms']:.3g} ms, prompt {figures['prompt_tokens_per_second']:.4g} "
        f"tokens/s, then {figures['decoding_tokens_per_second']:.4g} tokens/s, "
        f"loaded in {figures['load_ms'] / 1e3:.2f} s, {figures['disk_bytes'] / MIB:.1f} MiB on disk, "
        f"peak {figures['peak_bytes'] / MIB:.0f} MiB, {figures['computes_in']}, "
        f"spread {figures['spread']:.0%}{' NOISY' if noise(figures) else ''}"
    )
