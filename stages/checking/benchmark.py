"""Measures how fast an artifact is, and what it costs to load, against the PyTorch module that it was made from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Optional, Self

from pipeline import formats
from pipeline.artifact import Artifact, Kind
from pipeline.errors import Problem, StageError, listed, nearest
from pipeline.notes import Benchmark as Measured
from pipeline.notes import noise
from pipeline.stage import Above, AtLeast, SomeOf, World
from stages.checking import generators, jobs
from stages.checking.contender import Job
from stages.checking.contest import Contender, Figures, claim, in_turn
from stages.formats import session
from stages.formats.extensions import Extensions
from stages.formats.running import COMPUTE, Running
from stages.formats.session import How
from stages.generation.format import TOKENS
from stages.interface.interface import Interface, says
from stages.reference import artifact_cases, evidence
from stages.reference import cases as reference_cases
from stages.reference.cases import Case

MIB = 2**20

# What an artifact can be measured against: the ways to execute the module itself.
# By name, so that a key has their code.
AGAINST: Mapping[str, str] = {"eager": "stages.formats.eager", "torch_compile": "stages.openvino.torch_compile"}


@dataclass(frozen=True)
class Benchmark(Running):
    """Latency, throughput, time to the first answer, size and peak memory, side by side with PyTorch.

    Each contender runs in a process of its own with one inference at a time and its threads pinned. They are measured
    in turn, a block each, round after round. Figures that vary too much to rely on are marked NOISY, and compared with
    nothing; see pipeline.notes.noise. The artifact passes through unchanged.

    A language model's folder continues a prompt: measured are the time to its first token, and the tokens per second of
    the prompt and of what follows.

    Args:
        case: Which of the reference's cases to run, such as example or max; None for the first that the artifact takes.
            For a language model: the prompt's label, such as "7 tokens"; None for the longest.
        compute: The type that the artifact must compute in, read back; eager PyTorch computes in the module's type.
        properties: The runtime's own settings by its own names; each is read back.
        extensions: Operations that the runtime does not have by itself, by path; see compile_openvino.
        threads: How many threads each contender computes with; None for every logical core there is.
        rounds: Blocks of each contender, 2 or more.
        seconds: How long a block lasts, above 0.
        warmup: Inferences before each block that are not counted, 0 or more.
        against: What to measure beside the artifact: eager, torch_compile.
        noisy_above: The spread of a contender's block medians, as a share, above which its figures are marked.
        again: Raised to measure once more; what was measured is kept like any other result.
    """

    case: Optional[str]
    compute: Annotated[str, COMPUTE]
    properties: dict[str, str]
    extensions: Annotated[list[str], Extensions()]
    threads: Annotated[Optional[int], AtLeast(1)]
    rounds: Annotated[int, AtLeast(2)]
    seconds: Annotated[float, Above(0)]
    warmup: Annotated[int, AtLeast(0)]
    against: Annotated[list[str], SomeOf(AGAINST)]
    noisy_above: Annotated[float, AtLeast(0)]
    again: Annotated[int, AtLeast(0)]

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "artifact": formats.kinds("runtime"),
        "reference": frozenset({Kind.REFERENCE}),
        "module": frozenset({Kind.MODULE}),
        "tokens": frozenset({TOKENS}),
    }
    on_request: ClassVar[Mapping[str, frozenset[Kind]]] = {"artifact": session.ON_REQUEST}
    optional: ClassVar[frozenset[str]] = frozenset({"module", "tokens"})  # an ONNX file has none; language models do
    produces: ClassVar[Kind | str] = "artifact"
    requires: ClassVar[tuple[str, ...]] = ("numpy", "safetensors")
    native_to: ClassVar[tuple[str, ...]] = ("processor", "cores")

    def modules(self, kinds: Mapping[str, Kind]) -> tuple[str, ...]:
        beside = {*self.against} & AGAINST.keys() if "module" in kinds else ()
        runtimes = [AGAINST[name] for name in beside]
        folders = formats.part(kinds["artifact"], "generation").REQUIRES if "tokens" in kinds else ()
        beside_it = (m for r in runtimes for m in session.requires(r))
        return tuple(sorted({*super().modules(kinds), *beside_it, *folders}))

    def lacking(self, kinds: Mapping[str, Kind]) -> list[Problem]:
        """What the runtime lacks on this machine, from `unmeasured` in its module, if it has that."""
        runtime = formats.part(kinds["artifact"], "runtime")
        return list(runtime.unmeasured()) if hasattr(runtime, "unmeasured") else []

    def settle(self, world: World) -> Self:
        settled = super().settle(world)
        return settled if self.threads is not None else dataclasses.replace(settled, threads=world.cores())

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        if "tokens" in inputs:
            how = How(self.compute, self.threads, self.properties, self.extensions)
            pace = generators.Pace(self.rounds, self.seconds, self.warmup, self.noisy_above)
            return generators.measured(inputs, self.case, how, pace, self.against, folder)
        artifact, reference = inputs["artifact"], inputs["reference"]
        case, ours = self._case(artifact, reference), session.name(artifact.kind)
        jobs_by_name, missing = self._jobs(inputs, case, folder)
        items = _items(case, reference)
        with ExitStack() as running:
            started = [running.enter_context(Contender(name, job, folder)) for name, job in jobs_by_name.items()]
            if "refused" in started[0].ready:
                raise StageError(f"this {artifact.kind} cannot be run: {started[0].ready['refused']}")
            session.must_compute_in(self.compute, started[0].ready["computes_in"])
            refused = {c.name: why for c in started if (why := self._refused(c))}
            contenders = [c for c in started if c.name not in refused]
            blocks, peaks = in_turn(contenders, self.rounds, self.seconds, self.warmup)
        measurements = {
            c.name: {
                **Figures.from_blocks(blocks[c.name], items, self.noisy_above).plain,
                **c.ready,
                "peak_bytes": peaks[c.name],
                "disk_bytes": jobs.disk_bytes(jobs_by_name[c.name]),
            }
            for c in contenders
        }
        shapes = ", ".join(f"{n} {says(v.shape)}" for n, v in _fed(artifact, case).items())
        measured = Measured(
            artifact=ours,
            case={"label": case.label, "shapes": shapes, "items": items},
            threads=self.threads,
            rounds=self.rounds,
            seconds=self.seconds,
            warmup=self.warmup,
            contenders=measurements,
            not_measured=missing | refused,
            table=[],
        )
        measured["table"] = _table(measured)
        return artifact.noting(says=_headline(ours, measurements) + _inside(artifact), benchmark=measured)

    def _refused(self, beside: Contender) -> str:
        """Why a contender is not measured; empty if it is. Computing in another type could win by that alone."""
        if "refused" in beside.ready:
            return str(beside.ready["refused"])
        if beside.name == "torch_compile" and (computes_in := beside.ready["computes_in"]) != self.compute:
            return f"asked to compute in {self.compute}, it computes in {computes_in}"
        return ""

    def _case(self, artifact: Artifact, reference: Artifact) -> Case:
        cases = {
            c.label: c for c in reference_cases.read(reference) if artifact_cases.case_for(artifact, c) is not None
        }
        label = next(iter(cases), None) if self.case is None else self.case
        if label not in cases:
            raise StageError(
                f"case is {self.case}, and the reference has none of that label that this {artifact.kind} takes"
                f"{nearest(str(self.case), cases)}",
                allowed=listed(cases),
                command=f"'stages.benchmark.case={next(iter(cases))}'" if cases else evidence.RECORD,
            )
        return cases[label]

    def _jobs(self, inputs: Mapping[str, Artifact], case: Case, folder: Path) -> tuple[dict[str, Job], dict[str, str]]:
        """The job of each contender, the artifact's first, and why others are not measured, by name."""
        artifact = inputs["artifact"]
        ours = session.name(artifact.kind)
        against = [name for name in self.against if name != ours]
        models, missing = {ours: artifact}, {}
        if "module" in inputs:
            models |= dict.fromkeys(against, inputs["module"])
        else:
            missing = dict.fromkeys(against, "there is no PyTorch module: the model came as a file")
        commands: dict[str, Job] = {}
        written: dict[int, tuple[Path, str]] = {}
        for name, model in models.items():
            home, why = jobs.home(model, folder, written)
            if why:
                missing[name] = why
                continue
            arrays = _fed(model, case)
            commands[name] = Job(
                runtime=AGAINST.get(name, session.runtime(model.kind)),
                kind=model.kind,
                folder=str(home),
                facts=dict(session.with_interface(model, inputs["reference"]).facts),
                compute=self.compute,
                threads=self.threads or 1,
                properties=self.properties if name == ours else {},
                extensions=self.extensions if name == ours else [],
                inputs=list(arrays),
                arrays=str(jobs.write_arrays(arrays, folder / f"{name}.safetensors")),
            )
        if ours in missing:
            raise StageError(f"this {artifact.kind} cannot be run: {missing[ours]}")
        return commands, missing


def _fed(artifact: Artifact, case: Case) -> Mapping[str, Any]:
    """The arrays that an artifact takes in a case, by its own names for them."""
    adapted = artifact_cases.case_for(artifact, case)
    assert adapted is not None, "the case was chosen so that the artifact takes it"
    return adapted.inputs


def _items(case: Case, reference: Artifact) -> int:
    """Items in one inference: the size of the dimension 'batch', or of a file's first dimension; 1 without either."""
    for name, spec in Interface.read(reference).inputs.items():
        for axis, dim in spec.axes.items():
            if dim in ("batch", f"{name}_dim0"):  # the second name is that of an open dimension of a file
                return int(case.inputs[name].shape[axis])
    return 1


def _inside(artifact: Artifact) -> str:
    return (
        "; its preprocessing is inside, PyTorch's is not"
        if artifact_cases.edits_of(artifact).images is not None
        else ""
    )


def _headline(ours: str, measurements: Mapping[str, Mapping[str, Any]]) -> str:
    """The stage's line: "p50 7.1 ms, 2.90× the speed of eager PyTorch"; noisy figures are compared with nothing."""
    p50 = measurements[ours]["p50_ms"]
    compared = (
        f", {measurements['eager']['p50_ms'] / p50:.2f}× the speed of eager PyTorch" if "eager" in measurements else ""
    )
    return claim(f"p50 {p50:.3g} ms", compared, measurements)


def _table(measured: Measured) -> list[str]:
    """For the summary: what was run, a line for each contender, and one for each that was not measured."""
    items, threads = measured["case"]["items"], measured["threads"]
    return [
        f"{measured['case']['shapes']} ({items} item{'s' * (items != 1)}), {threads} thread{'s' * (threads != 1)}, "
        f"{measured['rounds']} rounds of {measured['seconds']:g} s in turn",
        *(_row(name, figures) for name, figures in measured["contenders"].items()),
        *(f"{name:<13} not measured: {why}" for name, why in measured["not_measured"].items()),
    ]


def _row(name: str, figures: Mapping[str, Any]) -> str:
    """A contender's line of the summary."""
    return (
        f"{name:<13} p50 {figures['p50_ms']:.3g} p90 {figures['p90_ms']:.3g} p99 {figures['p99_ms']:.3g} ms, "
        f"{figures['items_per_second']:.4g} items/s, first answer {figures['to_first_answer_ms'] / 1e3:.2f} s, "
        f"{figures['disk_bytes'] / MIB:.1f} MiB on disk, peak {figures['peak_bytes'] / MIB:.0f} MiB, "
        f"{figures['computes_in']}, spread {figures['spread']:.0%}{' NOISY' if noise(figures) else ''}"
    )
