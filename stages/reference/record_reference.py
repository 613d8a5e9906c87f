"""Records what the model answers, for every later stage to be held to, and completes its interface."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Optional

from pipeline import formats
from pipeline.artifact import Artifact, Kind
from pipeline.errors import ConfigError, Problem, StageError, listed
from pipeline.stage import AtLeast, Requires, Stage, World
from stages.interface import call as forward_call
from stages.interface import derived, fills, outputs
from stages.interface import interface as model_interface
from stages.interface.fills import Filled
from stages.interface.images import Preprocessing, unprepared
from stages.interface.interface import Dim, Dims, Input, Interface, Output
from stages.portable import comparison
from stages.portable.said import first_line
from stages.reference import cases as reference_cases
from stages.reference import questions
from stages.reference.cases import Case
from stages.reference.questions import Question

Ask = Callable[[Mapping[str, Any]], Any]
# How a sum is shared out decides its last bits. A number that is the same on every machine, whatever it has: four serve
# the few cases that there are, and cost nothing to speak of where there are fewer cores.
THREADS = 4
# What stands for itself, there being no PyTorch model.
FROM_FILES = formats.kinds("model")


@dataclass(frozen=True)
class RecordReference(Stage):
    """Asks the model on seeded inputs at several shapes: the example's, the smallest, an odd and the largest.

    The model is the eager PyTorch module. Where a file is all there is, it is that file, run by its own framework:
    onnxruntime for ONNX. Where that is not installed, there are questions and no answers, and the reference says so.

    Args:
        inputs: By name; None for what the model itself says, which transformers models and ONNX files do.
        dims: The dynamic dimensions, by name. With derived inputs, those that the model has no use for are left out.
        outputs: Names in the order of what forward returns; or a name and a path for each that is wanted; None for all
            of them, named after their paths.
        call: How forward is called; None for every input in order. See stages/interface/call.py.
        preprocessing: For fills that are photographs.
        photographs: Whether to ask about whole photographs too, and to keep their bytes: those of the input's fill,
            and drawn ones. Artifacts that take raw images are held to these.
        photographed: The input that they stand for; None for the only one of four dimensions.
        shapes: Of further cases, by input; those left out are the example's. For artifacts that are reshaped.
        seed: For what is drawn.
    """

    inputs: Annotated[Optional[dict[str, Input]], Filled()]
    dims: Annotated[dict[str, Dim], Dims()]
    outputs: Optional[list[Any]]
    call: Optional[dict[str, Any]]
    preprocessing: Optional[Preprocessing]
    photographs: Annotated[bool, Requires({True: ("PIL",)})]
    photographed: Optional[str]
    shapes: list[dict[str, list[int]]]
    seed: Annotated[int, AtLeast(0, command="seed=0")]

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"model": frozenset({Kind.MODULE, *FROM_FILES})}
    produces: ClassVar[Kind | str] = Kind.REFERENCE
    requires: ClassVar[tuple[str, ...]] = ("numpy", "safetensors")
    repeatable: ClassVar[bool] = False

    def modules(self, kinds: Mapping[str, Kind]) -> tuple[str, ...]:
        kind = kinds.get("model", Kind.MODULE)
        by_kind = formats.part(kind, "model").requires() if kind in FROM_FILES else ("torch",)
        return tuple(sorted({*super().modules(kinds), *by_kind}))

    def conflicts(self) -> Iterator[Problem]:
        yield from outputs.problems(self.outputs, list(self.inputs or ()))
        yield from questions.problems(self.shapes, self.inputs)
        if self.inputs is not None:
            yield from model_interface.problems(self.inputs, self.dims)
            for name, spec in self.inputs.items():
                yield from fills.problems(f"inputs.{name}.fill", spec, self.preprocessing)
            yield from forward_call.problems(self.call, self.inputs)
        if self.photographs and self.preprocessing is None:
            yield unprepared("photographs is true, and nothing says how one becomes an input")

    def identity(self, world: World) -> Mapping[str, Any]:
        # A key knows no order of mappings, and here it decides which argument is which.
        order = {"inputs": list(self.inputs or ()), "outputs": outputs.names(self.outputs)}
        return {**super().identity(world), "order": {**order, "call": json.dumps(self.call)}}

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        model = inputs["model"]
        known = self._known(model)
        asked = list(self._questions(known))
        if model.kind in FROM_FILES and (why := formats.part(model.kind, "model").unanswered(model)):
            return _unanswered(why, known, asked, folder)
        ask = _runtime(model) if model.kind in FROM_FILES else _eager(model.live, known.call)
        answers = {q.label: _answer(ask, q.inputs) for q in asked}
        paths = outputs.found(answers["example"], self.outputs or list(known.outputs) or None, list(known.inputs))
        cases = [
            Case(q.label, q.inputs, {o: _array(answers[q.label], o, p) for o, p in paths.items()}, q.raw) for q in asked
        ]
        blind = [name for name in paths if comparison.is_blind([c.outputs[name] for c in cases])]
        if len(blind) == len(paths):
            raise StageError(
                f"{listed(blind)}: the model answers the same to every input, or nothing, so comparing with it proves "
                "nothing",
                allowed="at least one output that depends on the inputs",
                command="model.weights=/path/to/weights.pth, or another inputs.NAME.fill",
            )
        reference_cases.write(folder, cases, known.inputs)
        sizes = {q.label: q.sizes for q in asked if q.sizes is not None}
        interface = replace(known, outputs={o: _output(o, p, cases, sizes) for o, p in paths.items()})
        says = f"{len(cases)} shapes; outputs {listed(paths, 4)}" + (
            f"; {listed(blind)} the same for every input" if blind else ""
        )
        return Artifact(Kind.REFERENCE, folder, facts=interface.facts, notes={"says": says})

    def _questions(self, known: Interface) -> Iterator[Question]:
        yield from questions.at_every_size(known, self.seed, self.preprocessing)
        yield from questions.at_shapes(known, self.shapes, self.seed, self.preprocessing)
        if self.photographs:
            assert self.preprocessing is not None
            yield from questions.of_photographs(known, self.photographed, self.shapes, self.seed, self.preprocessing)

    def _known(self, model: Artifact) -> Interface:
        """The interface as far as it is known before the model has answered."""
        if model.kind in FROM_FILES:
            told = Interface.of(model)
            if self.call is not None:
                raise ConfigError("call says how forward is called, and a file has none", command="model.call=null")
            if self.outputs not in (None, list(told.outputs)):
                renamed = formats.part(model.kind, "model").RENAMES
                raise ConfigError(
                    f"outputs is {self.outputs}; the file's are {listed(told.outputs)}",
                    command="model.outputs=null"
                    + ("; '+model.names.OURS=THEIRS' gives one another name" if renamed else ""),
                )
            # The file says shapes and types; what is drawn is the YAML's, or else whatever is safest to feed.
            given = self.inputs or {}
            return replace(told, inputs={n: given.get(n) or fills.default(s) for n, s in told.inputs.items()})
        if self.inputs is not None:
            if wrong := [name for name in self.inputs if not model_interface.is_name(name)]:
                raise ConfigError(f"inputs names '{wrong[0]}'", allowed="letters, digits, underscores")
            return Interface(self.inputs, self.dims, call=self.call)
        return derived.interface(model.live, self.dims, self.call)


def _eager(module: Any, call: Mapping[str, Any] | None) -> Ask:
    import torch

    def ask(arrays: Mapping[str, Any]) -> Any:
        # Copies: a model that writes into its input must not change what is recorded.
        args, kwargs = forward_call.arguments(call, {n: torch.from_numpy(v.copy()) for n, v in arrays.items()})
        threads = torch.get_num_threads()
        torch.set_num_threads(THREADS)
        try:
            with torch.inference_mode():
                return module(*args, **kwargs)
        finally:
            torch.set_num_threads(threads)

    return ask


def _runtime(model: Artifact) -> Ask:
    import torch

    running = formats.part(model.kind, "model").open_session(model)
    return lambda arrays: {n: torch.from_numpy(v) for n, v in running(arrays).items()}


def _unanswered(why: str, known: Interface, asked: Sequence[Question], folder: Path) -> Artifact:
    """The questions alone; what the outputs are is what the file says."""
    reference_cases.write(folder, [Case(q.label, q.inputs, {}, q.raw) for q in asked], known.inputs)
    says = f"{len(asked)} shapes, and no answers: {why}"
    return Artifact(
        Kind.REFERENCE, folder, facts={**known.facts, reference_cases.UNANSWERED: why}, notes={"says": says}
    )


def _answer(ask: Ask, arrays: Mapping[str, Any]) -> Any:
    try:
        return ask(arrays)
    except Exception as e:  # a model raises anything
        shapes = ", ".join(f"{n} {model_interface.says(v.shape)} {v.dtype}" for n, v in arrays.items())
        raise StageError(
            f"the model rejects {shapes}: {type(e).__name__}: {first_line(e)}",
            allowed="inputs that the model's forward accepts, at every size that dims allows",
            command="model.inputs.NAME.shape=[…], model.dims.NAME.min=…, .max=…, or model.call",
        ) from e


def _array(returned: Any, name: str, path: outputs.Path) -> Any:
    try:
        return outputs.at(returned, path).contiguous().numpy()
    except (LookupError, AttributeError) as e:
        raise StageError(f"outputs: '{name}' is returned at some sizes of the inputs and not at others") from e
    except TypeError as e:
        raise StageError(
            f"outputs: '{name}' has a type that no target shares: {first_line(e)}",
            allowed="float32, float64, float16, integers, bool",
            command="a model that computes in one of these; precision= lowers it later",
        ) from e


def _output(name: str, path: outputs.Path, cases: Sequence[Case], sizes: Mapping[str, Mapping[str, int]]) -> Output:
    shapes = {c.label: c.outputs[name].shape for c in cases if c.label in sizes}
    return Output(list(path), model_interface.output_shape(shapes, sizes), str(cases[0].outputs[name].dtype))
