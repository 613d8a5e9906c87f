"""Records the model's answers, which every later check compares with, and completes its interface."""

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
from stages.reference import formulas, function, further, judging, padding, questions, sizes
from stages.reference.cases import Case
from stages.reference.conversation import Conversation
from stages.reference.eager_model import Ask, EagerModel
from stages.reference.exact import ExactModel
from stages.reference.families import SIZES
from stages.reference.questions import Question
from stages.reference.watch import Watch

if TYPE_CHECKING:
    from stages.reference.tables import Table

# Files that are the model themselves: there is no PyTorch model.
FROM_FILES = formats.kinds("model")


@dataclass(frozen=True)
class RecordReference(Stage):
    """Runs the model on seeded inputs at several shapes, and with values at which converters break.

    The model is the eager PyTorch module. Where there is only a file, the file is the model, run by its own framework:
    onnxruntime for ONNX. Where that is not installed, there are questions and no answers, and the reference says so.

    A model whose answers differ when it is asked again is no function of its inputs, and one whose answers are all
    equal, NaN, infinite or decided by rounding proves nothing: both end with CheckFailed.

    Args:
        inputs: By name; None for what the model itself says, which transformers models and ONNX files do.
        dims: The dynamic dimensions, by name. With derived inputs, those that the model does not use are left out.
            None for a file's own dimensions, which its stage compares with the inputs.
        outputs: Names in the order of what forward returns; or a name and a path for some of them; None for all of
            them, named after their paths.
        call: How forward is called; None for every input in order. See stages/interface/call.py.
        preprocessing: For fills that are photographs.
        photographs: Whether to run whole photographs too, and to keep their bytes: those of the input's fill, and drawn
            ones. Artifacts that take raw images are compared at these.
        photographed: The input that takes the photographs; None for the only one of four dimensions.
        shapes: Of further cases, by input; other inputs have the example's shape. For artifacts that are reshaped.
        seed: For all draws.
        effort: What is asked besides the four sizes of quick: standard, more sizes, and families of values at which
            converters break; thorough, more of both. See sizes.py and families.py.
        samples: Real inputs to run too, see stages/data/spec.py; None for none. Their content is part of the key.
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
    isolable: ClassVar[bool] = True  # a file may come from anyone, and its framework is native code

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
        # A key ignores the order of mappings, and here the order decides which argument is which.
        order = {"inputs": list(self.inputs or ()), "outputs": outputs.names(self.outputs)}
        return {**super().identity(world), "order": {**order, "call": json.dumps(self.call)}}

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        model = inputs["model"]
        draft, derived_says = self._draft(model)
        to_ask = list(self._questions(draft))
        decoder_facts = model.facts.get(generation.FACT)
        windowed: tuple[list[Question], dict[str, str]] = ([], {})
        if decoder_facts and decoder_facts["window"]:
            windowed = questions.at_window(draft, decoder_facts["window"], self.seed, self.preprocessing)
        to_ask += windowed[0]
        if model.kind in FROM_FILES and (why := formats.part(model.kind, "model").unanswered(model)):
            return _unanswered(why, draft, to_ask, folder)
        ask = _runtime(model) if model.kind in FROM_FILES else EagerModel(model.live, draft.call)
        with Watch() as watch:
            first = _answer(ask, to_ask[0].inputs)
            paths = outputs.paths_of(first, self.outputs or list(draft.outputs) or None, list(draft.inputs))
            answers = {to_ask[0].label: _arrays(first, paths)}
            answers |= {q.label: _arrays(_answer(ask, q.inputs), paths) for q in to_ask[1:]}
            if any(map(model_interface.is_cache, draft.inputs.values())):
                complete = _complete(draft, paths, to_ask, answers)
                talk = Conversation(complete, lambda i: _arrays(_answer(ask, i), paths), self.seed, self.preprocessing)
                to_ask = talk.continued(to_ask)
                answers = {q.label: _arrays(_answer(ask, q.inputs), paths) for q in to_ask}
                talk.demand(to_ask)
        function.demand(ask, lambda returned: _arrays(returned, paths), to_ask, answers)
        cases = [Case(q.label, q.inputs, answers[q.label], q.raw, q.family) for q in to_ask]
        _proving_nothing(cases)
        interface = _complete(draft, paths, to_ask, answers)
        exact = ExactModel(model.live, draft.call) if model.kind == Kind.MODULE else None
        cases, not_asked = self._with_values(cases, draft, ask, lambda returned: _arrays(returned, paths), watch, exact)
        if model.kind in FROM_FILES and (better := formats.part(model.kind, "model").open_exact(model)) is not None:
            cases = further.better(cases, better)
        cases = [_where_it_counts(c, draft.inputs, interface.outputs) for c in cases]
        nothing = _proving_nothing(cases)
        rows = watch.tables(model.live) if model.kind == Kind.MODULE else {}
        not_asked |= windowed[1]
        tables = {name: [int(looked_up.sum()), len(looked_up)] for name, looked_up in rows.items()}
        embeddings = _tables(model.live, rows) if rows else []
        reference_cases.write(folder, cases, draft.inputs, not_asked, embeddings)
        says = f"{_says(to_ask, cases)}; outputs {listed(paths, 4)}{nothing}" + "".join(
            f"; {hits} of {every} rows of {name} looked up" for name, (hits, every) in tables.items() if hits < every
        )
        says += "".join(f"; {assumption}" for assumption in derived_says)
        question_notes = Questions(
            asked=[c.label for c in cases],
            not_asked=not_asked,
            tables=tables,
            not_in_float64=exact.why_not if exact else "a file is run in the types that it has",
        )
        notes = Notes(says=says, questions=question_notes)
        if caution := self._assumed(model, draft):
            notes["caution"] = caution
        decoder = {} if decoder_facts else generation.facts_of(interface)
        return Artifact(Kind.REFERENCE, folder, facts={**interface.facts, **decoder}, notes=notes)

    def _with_values(
        self,
        cases: list[Case],
        interface: Interface,
        ask: Ask,
        take: further.Take,
        watch: Watch,
        exact: ExactModel | None,
    ) -> tuple[list[Case], dict[str, str]]:
        """The cases with families of values added and answers in float64, and which families were not asked."""
        values_to_ask = questions.of_families(interface, self.seed, self.preprocessing, self.effort)
        most = math.inf if self.effort == "thorough" else further.ENOUGH
        values, not_asked = further.cases(values_to_ask, ask, take, watch, most)
        if exact is None:
            return [*cases, *values], not_asked
        determined, unsteady = further.determined(further.exactly([*cases, *values], exact, take), ask, take)
        if formulas.differ(watch.operators):
            determined = further.left_open(determined, ask, take)
        return determined, not_asked | unsteady

    def _questions(self, interface: Interface) -> Iterator[Question]:
        yield from questions.at_every_size(interface, self.seed, self.preprocessing, self.effort)
        yield from questions.at_shapes(interface, self.shapes, self.seed, self.preprocessing)
        if self.photographs:
            assert self.preprocessing is not None
            yield from questions.of_photographs(
                interface, self.photographed, self.shapes, self.seed, self.preprocessing
            )
        if self.samples is not None:
            from stages.data import sources

            rows = sources.build(self.samples, self.preprocessing).open(interface, self.seed)
            yield from questions.of_samples(rows, interface, self.count, self.seed)

    @property
    def _fills(self) -> dict[str, Any]:
        """The fills that the YAML states, by input."""
        return {n: s.fill for n, s in (self.inputs or {}).items() if fills.is_said(s)}

    def _assumed(self, model: Artifact, interface: Interface) -> str:
        """A caution where no range is stated for integer inputs of a file, and how to state it; else empty."""
        stated = {*self._fills, *model.facts.get(fills.FACT, {})}
        open_ = {n: s for n, s in interface.inputs.items() if fills.is_assumed(s) and n not in stated}
        if model.kind not in FROM_FILES or not open_:
            return ""
        chosen = {n: interface.inputs[n] for n in interface.inputs if n in open_ or n in (self.inputs or {})}
        with_range = {n: replace(s, fill={"integers": [0, 100]}) if n in open_ else s for n, s in chosen.items()}
        return f"zeros and ones are drawn for {listed(open_)}, the file says no range; {typed.inputs(with_range)} does"

    def _draft(self, model: Artifact) -> tuple[Interface, Sequence[str]]:
        """The interface without what only the model's answers show; and what was assumed for it, in words."""
        if model_interface.FACT in model.facts:  # a file, or a decoder: what it says itself
            own, source = Interface.read(model), "file" if model.kind in FROM_FILES else "decoder"
            if self.call is not None:
                raise ConfigError(
                    f"call says how forward is called, which the {source} says", command="model.call=null"
                )
            if self.outputs not in (None, list(own.outputs)):
                renamed = model.kind in FROM_FILES and formats.part(model.kind, "model").RENAMES
                raise ConfigError(
                    f"outputs is {self.outputs}; the {source}'s are {listed(own.outputs)}",
                    command="model.outputs=null"
                    + ("; '+model.names.OURS=THEIRS' gives one another name" if renamed else ""),
                )
            # The file has shapes and types; the YAML has the fills, else the safest fill is used.
            implied = model.facts.get(fills.FACT, {})
            stated = self._fills
            drawn = {n: fills.default(s, stated.get(n, implied.get(n))) for n, s in own.inputs.items()}
            return replace(own, inputs=drawn), ()
        dims = self.dims or {}
        if self.inputs is not None:
            if wrong := [name for name in self.inputs if not model_interface.is_dotted(name)]:
                raise ConfigError(f"inputs names '{wrong[0]}'", allowed="letters, digits, underscores and dots")
            return Interface(self.inputs, dims, call=self.call), ()
        picture = model.facts.get("source", {}).get("picture")
        derived_interface = derived.interface(
            model.live, dims, self.call, picture, lambda way: self._accepts(model.live, way)
        )
        return derived_interface.interface, derived_interface.says

    def _accepts(self, module: Any, way: Interface) -> bool:
        """Whether the model runs at the smallest sizes when it is called in this way."""
        smallest = {name: dim.min for name, dim in way.dims.items()}
        try:
            EagerModel(module, way.call)(fills.draw(way.inputs, smallest, self.seed))
        except Exception:  # a model raises anything
            return False
        return True


def _tables(module: Any, rows: Mapping[str, Any]) -> list[Table]:
    from stages.reference import tables  # where there are some: importing it takes time

    return list(tables.looked_up(module, rows))


def _says(to_ask: Sequence[Question], cases: Sequence[Case]) -> str:
    shapes = sum(q.family == SIZES for q in to_ask)
    counts = {"families of values": len(cases) - len(to_ask), "batches of samples": len(to_ask) - shapes}
    return listed([f"{shapes} shapes", *(f"{count} {what}" for what, count in counts.items() if count)])


def _runtime(model: Artifact) -> Ask:
    import torch

    running = formats.part(model.kind, "model").open_session(model)
    return lambda arrays: {n: torch.from_numpy(v) for n, v in running(arrays).items()}


def _unanswered(why: str, draft: Interface, to_ask: Sequence[Question], folder: Path) -> Artifact:
    """A reference of questions only; its outputs are those that the file declares."""
    reference_cases.write(folder, [Case(q.label, q.inputs, {}, q.raw, q.family) for q in to_ask], draft.inputs, {})
    says = f"{len(to_ask)} shapes, and no answers: {why}"
    return Artifact(
        Kind.REFERENCE, folder, facts={**draft.facts, reference_cases.UNANSWERED: why}, notes={"says": says}
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


ROUNDED = "decided by rounding: float32 and float64 answers have less than one digit in common"


def _proving_nothing(cases: Sequence[Case]) -> str:
    """The outputs that prove nothing, in words. Raises CheckFailed where that is all of them."""
    import numpy as np

    by_output = {n: [c.outputs[n] for c in cases] for n in cases[0].outputs}
    answered = {n: v for n, v in by_output.items() if v[0].dtype.kind == "f" and any(a.size for a in v)}
    dead = [n for n, values in answered.items() if not any(np.isfinite(v).any() for v in values)]
    blind = [n for n, values in by_output.items() if n not in dead and comparison.is_blind(values)]
    rounded = [n for n in judging.undetermined(cases) if n not in (*dead, *blind)]
    sentences = {"NaN or infinite throughout": dead, "the same for every input": blind, ROUNDED: rounded}
    if len(dead) + len(blind) + len(rounded) < len(by_output):
        return "".join(f"; {listed(names)} {what}" for what, names in sentences.items() if names)
    sentences |= {"the same for every input": [], "the model answers the same to every input, or nothing": blind}
    raise CheckFailed(
        "; ".join(f"{listed(names)}: {what}" for what, names in sentences.items() if names)
        + ", so comparing with it proves nothing",
        allowed="at least one output that depends on the inputs, in finite numbers",
        command="model.weights=/path/to/weights.pth, or another inputs.NAME.fill",
    )


def _arrays(returned: Any, paths: Mapping[str, outputs.Path]) -> dict[str, Any]:
    """Outputs by name; copies, since forward may return a buffer that the next question changes."""
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
    draft: Interface,
    paths: Mapping[str, outputs.Path],
    to_ask: Sequence[Question],
    answers: Mapping[str, Mapping[str, Any]],
) -> Interface:
    """The interface with its outputs, whose shapes follow from those at each size."""
    sizes = {q.label: draft.sized(q.sizes) for q in to_ask if q.sizes is not None}
    completed = {}
    for name, path in paths.items():
        shapes = {label: answers[label][name].shape for label in sizes}
        dtype = str(answers[to_ask[0].label][name].dtype)
        completed[name] = Output(list(path), model_interface.output_shape(shapes, sizes), dtype)
    return replace(draft, outputs=completed)


def _where_it_counts(case: Case, inputs: Mapping[str, Input], model_outputs: Mapping[str, Output]) -> Case:
    """A case with zeros where its outputs do not count."""
    counts = padding.valid(case.inputs, case.outputs, padding.followed(inputs, model_outputs))
    return replace(case, outputs=padding.without(case.outputs, counts), exact=padding.without(case.exact, counts))
