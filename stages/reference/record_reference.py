"""Records what the model answers, for every later stage to be held to, and completes its interface."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Optional

from pipeline import formats
from pipeline.artifact import Artifact, Kind
from pipeline.errors import CheckFailed, ConfigError, Problem, StageError, listed
from pipeline.notes import Notes, Questions
from pipeline.stage import AtLeast, OneOf, Requires, Stage, World
from stages.data import spec as data_spec
from stages.data.origin import Origin
from stages.interface import call as forward_call
from stages.interface import derived, fills, generation, outputs, typed
from stages.interface import interface as model_interface
from stages.interface.fills import Filled
from stages.interface.images import Preprocessing, unprepared
from stages.interface.interface import Dim, Dims, Input, Interface, Output
from stages.portable import comparison
from stages.portable.vendor_errors import first_line
from stages.reference import cases as reference_cases
from stages.reference import function, further, padding, questions, sizes
from stages.reference.asked import Ask, EagerModel
from stages.reference.cases import Case
from stages.reference.conversation import Conversation
from stages.reference.exact import ExactModel
from stages.reference.families import SIZES
from stages.reference.questions import Question
from stages.reference.watch import Watch

if TYPE_CHECKING:
    from stages.reference.tables import Table

# What stands for itself, there being no PyTorch model.
FROM_FILES = formats.kinds("model")


@dataclass(frozen=True)
class RecordReference(Stage):
    """Asks the model on seeded inputs at several shapes, and with values where converters break.

    The model is the eager PyTorch module. Where a file is all there is, it is that file, run by its own framework:
    onnxruntime for ONNX. Where that is not installed, there are questions and no answers, and the reference says so.

    A model that answers otherwise when it is asked again is no function of its inputs, and one whose answers are all
    alike, NaN or infinite proves nothing: both end with CheckFailed.

    Args:
        inputs: By name; None for what the model itself says, which transformers models and ONNX files do.
        dims: The dynamic dimensions, by name. With derived inputs, those that the model has no use for are left out.
            None for a file's own, whose stage holds the inputs to it.
        outputs: Names in the order of what forward returns; or a name and a path for each that is wanted; None for all
            of them, named after their paths.
        call: How forward is called; None for every input in order. See stages/interface/call.py.
        preprocessing: For fills that are photographs.
        photographs: Whether to ask about whole photographs too, and to keep their bytes: those of the input's fill,
            and drawn ones. Artifacts that take raw images are held to these.
        photographed: The input that they stand for; None for the only one of four dimensions.
        shapes: Of further cases, by input; those left out are the example's. For artifacts that are reshaped.
        seed: For what is drawn.
        effort: How much is asked beside the four sizes of quick: standard, more orders of sizes, and families of values
            where converters break; thorough, more of both. See sizes.py and families.py.
        samples: Real inputs to ask too, see stages/data/spec.py; None for none. What is in them is part of the key.
        count: How many of them at most, 1 or more, chosen by the seed.
    """

    inputs: Annotated[Optional[dict[str, Input]], Filled()]
    dims: Annotated[Optional[dict[str, Dim]], Dims()]
    outputs: Optional[list[Any]]
    call: Optional[dict[str, Any]]
    preprocessing: Optional[Preprocessing]
    photographs: Annotated[bool, Requires({True: ("PIL",)})]
    photographed: Optional[str]
    shapes: list[dict[str, list[int]]]
    seed: Annotated[int, AtLeast(0, command="seed=0")]
    effort: Annotated[str, OneOf(sizes.EFFORTS, command="effort=standard")]
    samples: Annotated[Any, Origin("model.check.samples")]
    count: Annotated[int, AtLeast(1)]

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"model": frozenset({Kind.MODULE, *FROM_FILES})}
    produces: ClassVar[Kind | str] = Kind.REFERENCE
    requires: ClassVar[tuple[str, ...]] = ("numpy", "safetensors")
    repeatable: ClassVar[bool] = False
    isolable: ClassVar[bool] = True  # with a file for its model, which may be anybody's: its framework is native code

    def modules(self, kinds: Mapping[str, Kind]) -> tuple[str, ...]:
        kind = kinds.get("model", Kind.MODULE)
        by_kind = formats.part(kind, "model").requires() if kind in FROM_FILES else ("torch",)
        return tuple(sorted({*super().modules(kinds), *by_kind}))

    def conflicts(self) -> Iterator[Problem]:
        yield from outputs.problems(self.outputs, list(self.inputs or ()))
        yield from questions.problems(self.shapes, self.inputs)
        if self.inputs is not None:
            if self.dims is not None:
                yield from model_interface.problems(self.inputs, self.dims)
            for name, spec in self.inputs.items():
                if self.dims is None and not fills.is_said(spec):
                    continue
                yield from fills.problems(f"inputs.{name}.fill", spec, self.preprocessing)
            yield from fills.between(self.inputs)
            yield from forward_call.problems(self.call, self.inputs)
        elif empty := [name for name, dim in (self.dims or {}).items() if dim.min == 0]:
            wrong = f"dims.{empty[0]}.min is 0, and inputs is null: nothing says that it may be empty"
            yield Problem(wrong, allowed="1 or more", command=f"model.dims.{empty[0]}.min=1")
        if self.photographs and self.preprocessing is None:
            yield unprepared("photographs is true, and nothing says how one becomes an input")
        if data_spec.pictures(self.samples) and self.preprocessing is None:
            yield unprepared("samples has images, and nothing says how one becomes an input")

    def identity(self, world: World) -> Mapping[str, Any]:
        # A key knows no order of mappings, and here it decides which argument is which.
        order = {"inputs": list(self.inputs or ()), "outputs": outputs.names(self.outputs)}
        return {**super().identity(world), "order": {**order, "call": json.dumps(self.call)}}

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        model = inputs["model"]
        known, derived_says = self._known(model)
        asked = list(self._questions(known))
        told = model.facts.get(generation.FACT)
        windowed: tuple[list[Question], dict[str, str]] = ([], {})
        if told and told["window"]:
            windowed = questions.at_window(known, told["window"], self.seed, self.preprocessing)
        asked += windowed[0]
        if model.kind in FROM_FILES and (why := formats.part(model.kind, "model").unanswered(model)):
            return _unanswered(why, known, asked, folder)
        ask = _runtime(model) if model.kind in FROM_FILES else EagerModel(model.live, known.call)
        with Watch() as watch:
            first = _answer(ask, asked[0].inputs)
            paths = outputs.found(first, self.outputs or list(known.outputs) or None, list(known.inputs))
            answers = {asked[0].label: _arrays(first, paths)}
            answers |= {q.label: _arrays(_answer(ask, q.inputs), paths) for q in asked[1:]}
            if any(map(model_interface.is_cache, known.inputs.values())):
                complete = _complete(known, paths, asked, answers)
                talk = Conversation(complete, lambda i: _arrays(_answer(ask, i), paths), self.seed, self.preprocessing)
                asked = talk.continued(asked)
                answers = {q.label: _arrays(_answer(ask, q.inputs), paths) for q in asked}
                talk.demand(asked)
        function.demand(ask, lambda returned: _arrays(returned, paths), asked, answers)
        cases = [Case(q.label, q.inputs, answers[q.label], q.raw, q.family) for q in asked]
        nothing = _proving_nothing(cases)
        interface = _complete(known, paths, asked, answers)
        exact = ExactModel(model.live, known.call) if model.kind == Kind.MODULE else None
        cases, not_asked = self._with_values(cases, known, ask, lambda returned: _arrays(returned, paths), watch, exact)
        if model.kind in FROM_FILES and (better := formats.part(model.kind, "model").open_exact(model)) is not None:
            cases = further.better(cases, better)
        cases = [_where_it_counts(c, known.inputs, interface.outputs) for c in cases]
        rows = watch.tables(model.live) if model.kind == Kind.MODULE else {}
        not_asked |= windowed[1]
        tables = {name: [int(seen.sum()), len(seen)] for name, seen in rows.items()}
        embeddings = _tables(model.live, rows) if rows else []
        reference_cases.write(folder, cases, known.inputs, not_asked, embeddings)
        says = f"{_says(asked, cases)}; outputs {listed(paths, 4)}{nothing}" + "".join(
            f"; {seen} of {rows} rows of {name} looked up" for name, (seen, rows) in tables.items() if seen < rows
        )
        says += "".join(f"; {told}" for told in derived_says)
        asked_of = Questions(
            asked=[c.label for c in cases],
            not_asked=not_asked,
            tables=tables,
            not_in_float64=exact.why_not if exact else "a file is run in the types that it has",
        )
        notes = Notes(says=says, questions=asked_of)
        if caution := self._assumed(model, known):
            notes["caution"] = caution
        decoder = {} if told else generation.facts_of(interface)
        return Artifact(Kind.REFERENCE, folder, facts={**interface.facts, **decoder}, notes=notes)

    def _with_values(
        self, cases: list[Case], known: Interface, ask: Ask, take: further.Take, watch: Watch, exact: ExactModel | None
    ) -> tuple[list[Case], dict[str, str]]:
        """The cases with families of values behind them and answers in float64, and which families were not asked."""
        asked = questions.of_families(known, self.seed, self.preprocessing, self.effort)
        most = math.inf if self.effort == "thorough" else further.ENOUGH
        values, not_asked = further.cases(asked, ask, take, watch, most)
        if exact is None:
            return [*cases, *values], not_asked
        kept, unsteady = further.determined(further.exactly([*cases, *values], exact, take), ask, take)
        return kept, not_asked | unsteady

    def _questions(self, known: Interface) -> Iterator[Question]:
        yield from questions.at_every_size(known, self.seed, self.preprocessing, self.effort)
        yield from questions.at_shapes(known, self.shapes, self.seed, self.preprocessing)
        if self.photographs:
            assert self.preprocessing is not None
            yield from questions.of_photographs(known, self.photographed, self.shapes, self.seed, self.preprocessing)
        if self.samples is not None:
            from stages.data import sources

            rows = sources.of(self.samples, self.preprocessing).open(known, self.seed)
            yield from questions.of_samples(rows, known, self.count, self.seed)

    @property
    def _said(self) -> dict[str, Any]:
        """The fills that the YAML has, by input."""
        return {n: s.fill for n, s in (self.inputs or {}).items() if fills.is_said(s)}

    def _assumed(self, model: Artifact, known: Interface) -> str:
        """That nothing says which whole numbers some inputs of a file take, and how to say it; else empty."""
        told = {*self._said, *model.facts.get(fills.FACT, {})}
        open_ = {n: s for n, s in known.inputs.items() if fills.is_assumed(s) and n not in told}
        if model.kind not in FROM_FILES or not open_:
            return ""
        given = {n: known.inputs[n] for n in known.inputs if n in open_ or n in (self.inputs or {})}
        wanted = {n: replace(s, fill={"integers": [0, 100]}) if n in open_ else s for n, s in given.items()}
        return f"zeros and ones are drawn for {listed(open_)}, the file says no range; {typed.inputs(wanted)} does"

    def _known(self, model: Artifact) -> tuple[Interface, Sequence[str]]:
        """The interface as far as it is known before the model has answered; and what was assumed for it, in words."""
        if model_interface.FACT in model.facts:  # a file, or a decoder: what it says itself
            told, of = Interface.of(model), "file" if model.kind in FROM_FILES else "decoder"
            if self.call is not None:
                raise ConfigError(f"call says how forward is called, which the {of} says", command="model.call=null")
            if self.outputs not in (None, list(told.outputs)):
                renamed = model.kind in FROM_FILES and formats.part(model.kind, "model").RENAMES
                raise ConfigError(
                    f"outputs is {self.outputs}; the {of}'s are {listed(told.outputs)}",
                    command="model.outputs=null"
                    + ("; '+model.names.OURS=THEIRS' gives one another name" if renamed else ""),
                )
            # The file says shapes and types; what is drawn is the YAML's, or else whatever is safest to feed.
            implied = model.facts.get(fills.FACT, {})
            said = self._said
            drawn = {n: fills.default(s, said.get(n, implied.get(n))) for n, s in told.inputs.items()}
            return replace(told, inputs=drawn), ()
        dims = self.dims or {}
        if self.inputs is not None:
            if wrong := [name for name in self.inputs if not model_interface.is_dotted(name)]:
                raise ConfigError(f"inputs names '{wrong[0]}'", allowed="letters, digits, underscores and dots")
            return Interface(self.inputs, dims, call=self.call), ()
        picture = model.facts.get("source", {}).get("picture")
        found = derived.interface(model.live, dims, self.call, picture, lambda way: self._accepts(model.live, way))
        return found.interface, found.says

    def _accepts(self, module: Any, way: Interface) -> bool:
        """Whether the model answers at the smallest sizes when it is called in this way."""
        smallest = {name: dim.min for name, dim in way.dims.items()}
        try:
            EagerModel(module, way.call)(fills.draw(way.inputs, smallest, self.seed))
        except Exception:  # a model raises anything
            return False
        return True


def _tables(module: Any, rows: Mapping[str, Any]) -> list[Table]:
    from stages.reference import tables  # where there are some: importing it takes time

    return list(tables.of(module, rows))


def _says(asked: Sequence[Question], cases: Sequence[Case]) -> str:
    shapes = sum(q.family == SIZES for q in asked)
    counts = {"families of values": len(cases) - len(asked), "batches of samples": len(asked) - shapes}
    return listed([f"{shapes} shapes", *(f"{count} {what}" for what, count in counts.items() if count)])


def _runtime(model: Artifact) -> Ask:
    import torch

    running = formats.part(model.kind, "model").open_session(model)
    return lambda arrays: {n: torch.from_numpy(v) for n, v in running(arrays).items()}


def _unanswered(why: str, known: Interface, asked: Sequence[Question], folder: Path) -> Artifact:
    """The questions alone; what the outputs are is what the file says."""
    reference_cases.write(folder, [Case(q.label, q.inputs, {}, q.raw, q.family) for q in asked], known.inputs, {})
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


def _proving_nothing(cases: Sequence[Case]) -> str:
    """In words, the outputs that prove nothing. Raises CheckFailed where that is all of them."""
    import numpy as np

    found = {n: [c.outputs[n] for c in cases] for n in cases[0].outputs}
    answered = {n: v for n, v in found.items() if v[0].dtype.kind == "f" and any(a.size for a in v)}
    dead = [n for n, values in answered.items() if not any(np.isfinite(v).any() for v in values)]
    blind = [n for n, values in found.items() if n not in dead and comparison.is_blind(values)]
    if len(dead) + len(blind) < len(found):
        told = {"NaN or infinite throughout": dead, "the same for every input": blind}
        return "".join(f"; {listed(names)} {what}" for what, names in told.items() if names)
    told = {"NaN or infinite throughout": dead, "the model answers the same to every input, or nothing": blind}
    raise CheckFailed(
        "; ".join(f"{listed(names)}: {what}" for what, names in told.items() if names)
        + ", so comparing with it proves nothing",
        allowed="at least one output that depends on the inputs, in finite numbers",
        command="model.weights=/path/to/weights.pth, or another inputs.NAME.fill",
    )


def _arrays(returned: Any, paths: Mapping[str, outputs.Path]) -> dict[str, Any]:
    """Outputs by name; copies, for what forward returns may be a buffer that the next question changes."""
    return {name: _array(returned, name, path).copy() for name, path in paths.items()}


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


def _complete(
    known: Interface,
    paths: Mapping[str, outputs.Path],
    asked: Sequence[Question],
    answers: Mapping[str, Mapping[str, Any]],
) -> Interface:
    """The interface with its outputs, by what they were at each size."""
    sizes = {q.label: known.sized(q.sizes) for q in asked if q.sizes is not None}
    found = {}
    for name, path in paths.items():
        shapes = {label: answers[label][name].shape for label in sizes}
        dtype = str(answers[asked[0].label][name].dtype)
        found[name] = Output(list(path), model_interface.output_shape(shapes, sizes), dtype)
    return replace(known, outputs=found)


def _where_it_counts(case: Case, inputs: Mapping[str, Input], given: Mapping[str, Output]) -> Case:
    """A case with zeros where its outputs do not count."""
    counts = padding.valid(case.inputs, case.outputs, padding.followed(inputs, given))
    return replace(case, outputs=padding.without(case.outputs, counts), exact=padding.without(case.exact, counts))
