"""One job of a sweep, from its run.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pipeline.report import speed
from pipeline.running.outcome import Outcome
from pipeline.runs.folders import RUN


@dataclass(frozen=True)
class Done:
    """The outcome of one stage in a job: an Outcome's name, how, key, digest, bytes and seconds."""

    name: str
    how: str
    key: str | None
    digest: str | None
    size: int
    seconds: float


@dataclass(frozen=True)
class Job:
    """One job.

    Args:
        number: Its place in the sweep, from 0.
        folder: Where it ran, relative to the sweep's.
        overrides: Its complete overrides.
        swept: Axis to this job's value on it.
        status: ok, planned, failed, interrupted, lost (it began and never said how it ended) or not run.
        exit_code: What it ended with, where that is known.
        problem: The first thing that went wrong.
        advice: What that problem says to do.
        command: The command that repeats this one job.
        stages: What became of each stage, in order.
        hits: How many of its stored stages were found and not built.
        stored: How many stored stages it has.
        seconds: What building and delivering took here.
        saved: How long the builds of the stages that were hits took, in seconds.
        error: Worst relative error of what was delivered, at any shape.
        unchecked: Why what was delivered was not compared with the model, if so.
        accuracy: Of what was delivered, by `metric`.
        metric: The metric's name.
        drop: How far that is below the PyTorch model's.
        perplexity: Of a language model that was delivered, on texts.
        ratio: That as a multiple of the PyTorch model's.
        kl: How far what it expects next is from what the PyTorch model does, in nats.
        agreement: The share of places, in 0..1, where both have the same first choice.
        target: The target's name.
        latency: p50 of one inference, in milliseconds.
        noise: Why that figure supports no claim, such as "spread 31%"; empty where it is quiet.
        runtime: The library that ran it.
        not_by: What the target is for, where another runtime was measured.
        speedup: How many times as fast as eager PyTorch; None where nothing was measured beside it, or one is noisy.
        unclaimed: Why there is no speed-up though both were measured.
        size: Bytes of the delivered artifact's files.
        digest: Content digest of what was delivered.
    """

    number: int
    folder: str
    overrides: tuple[str, ...]
    swept: Mapping[str, str]
    status: str
    exit_code: int | None = None
    problem: str = ""
    advice: str = ""
    command: str = ""
    stages: tuple[Done, ...] = ()
    hits: int = 0
    stored: int = 0
    seconds: float | None = None
    saved: float | None = None
    error: float | None = None
    unchecked: str = ""
    accuracy: float | None = None
    metric: str = ""
    drop: float | None = None
    perplexity: float | None = None
    ratio: float | None = None
    kl: float | None = None
    agreement: float | None = None
    target: str = ""
    latency: float | None = None
    noise: str = ""
    runtime: str = ""
    not_by: str = ""
    speedup: float | None = None
    unclaimed: str = ""
    size: int | None = None
    digest: str | None = None

    @property
    def went_well(self) -> bool:
        """Whether it succeeded; a plan has no artifact, and is no failure."""
        return self.status in ("ok", "planned")

    @property
    def noisy(self) -> bool:
        """Whether its latency is noisy; see `pipeline.notes.noise`."""
        return bool(self.noise)

    @property
    def story(self) -> str:
        """What went wrong, in a sentence; empty for a job that ended well or was interrupted."""
        by_status = {
            "lost": "It began and never said how it ended: killed, or still running.",
            "not run": "It never began.",
        }
        return self.problem or by_status.get(self.status, "")

    @property
    def name(self) -> str:
        """What tells it from the others: "opset=18 precision=fp16"."""
        return " ".join(f"{axis}={value}" for axis, value in self.swept.items()) or f"job {self.number}"


def began(folder: Path) -> bool:
    """Whether a job left a run.json, be it one that can be read or not."""
    return (folder / RUN).is_file()


def outcomes(run: Mapping[str, Any]) -> list[Outcome]:
    """The outcomes that a run.json recorded; keys that another version added are left out."""
    names = {f.name for f in fields(Outcome)}
    return [Outcome(**{n: v for n, v in stage.items() if n in names}) for stage in run["stages"]]


def of_run(run: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that a run.json says of its job, as fields of a Job."""
    figures = measured(outcomes(run))
    target = str((run["config"].get("target") or {}).get("name") or run["choices"].get("target") or "")
    if contender := figures.get("runtime"):
        figures |= {"runtime": speed.library(contender), "not_by": speed.meant(target, contender)}
    return {"target": target, **ended(run), **figures}


def ended(run: Mapping[str, Any]) -> dict[str, Any]:
    """How a job ended: its status, exit code, first problem and what that advises, as fields of a Job."""
    status = {"running": "lost"}.get(run["status"], run["status"])
    first: Mapping[str, str] = next(iter(run.get("problems", ())), {})
    problem = {"problem": first.get("what", ""), "advice": first.get("command", "")}
    return {"status": status, "exit_code": 0 if status == "ok" else run.get("exit_code"), **problem}


def measured(stages: Sequence[Outcome]) -> dict[str, Any]:
    """The figures of a run's outcomes, as fields of a Job."""
    if not stages:
        return {}
    stored = [o for o in stages if o.how in ("hit", "built") and o.digest is not None]
    hits = [o for o in stored if o.how == "hit"]
    figures: dict[str, Any] = {
        "stages": tuple(Done(o.name, o.how, o.key, o.digest, o.size, o.seconds) for o in stages),
        "hits": len(hits),
        "stored": len(stored),
        "seconds": sum(o.seconds for o in stages if o.how != "hit"),
        "saved": sum(o.seconds for o in hits),
    }
    if last := next((o for o in stages if o.how == "delivered"), None):
        figures |= {"size": last.size, "digest": last.digest}
        for outcome in stages:  # a later check of the same content has the last word
            if outcome.digest == last.digest and outcome is not last:
                figures |= _of_notes(outcome.notes)
    return figures


def _of_notes(notes: Mapping[str, Any]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    if parity := notes.get("parity"):
        figures |= {"error": max(case["max_rel"] for case in parity["cases"]), "unchecked": ""}
    if unchecked := notes.get("unchecked"):
        figures |= {"error": None, "unchecked": unchecked["why"]}
    if accuracy := notes.get("evaluation"):
        figures |= {"accuracy": accuracy["value"], "metric": accuracy["metric"], "drop": accuracy["drop"]}
    if perplexity := notes.get("perplexity"):
        figures |= {"perplexity": perplexity["value"], **{n: perplexity[n] for n in ("ratio", "kl", "agreement")}}
    if benchmark := notes.get("benchmark"):
        figures |= speed.figures(benchmark)
    return figures
