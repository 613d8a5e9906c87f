"""The questions for a model: an artifact made from it is compared with the answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError, Problem, listed, nearest
from stages.interface import fills, images
from stages.interface import interface as model_interface
from stages.interface.images import Preprocessing
from stages.interface.interface import Interface
from stages.reference import families
from stages.reference import sizes as asked_sizes

if TYPE_CHECKING:
    import numpy as np

    from stages.data.rows import Rows

    Arrays = Mapping[str, np.ndarray[Any, Any]]

LARGE = 2**19  # numbers in one question's inputs: a picture of 224 by 224 has 2**17
TOGETHER = 8  # samples in one batch, at most
SAMPLES = "samples"  # how the labels of real inputs begin


@dataclass(frozen=True)
class Question:
    """The inputs of one case.

    Args:
        label: Its name.
        sizes: Of the dynamic dimensions; None for shapes that these cannot give.
        inputs: Arrays by name.
        raw: The photographs that an input was prepared from; see cases.Case.
        family: How far it is from what the YAML draws; one of families.LEVELS.
    """

    label: str
    sizes: Mapping[str, int] | None
    inputs: Arrays
    raw: Arrays = field(default_factory=dict)
    family: str = families.SIZES

    @property
    def elements(self) -> int:
        """How many numbers the inputs have."""
        return sum(int(v.size) for v in self.inputs.values())


def at_every_size(interface: Interface, seed: int, how: Preprocessing | None, effort: str) -> Iterator[Question]:
    """The example's sizes first, then the others. Only thorough asks large inputs at one short of the largest."""
    for label, sizes in asked_sizes.labelled(interface.dims, effort).items():
        question = Question(label, sizes, fills.draw(interface.inputs, sizes, seed, how))
        if effort == "thorough" or not label.endswith(asked_sizes.ONE_SHORT) or question.elements <= LARGE:
            yield question


def of_families(interface: Interface, seed: int, how: Preprocessing | None, effort: str) -> Iterator[Question]:
    """Values where converters break."""
    for name, family, sizes, inputs in families.labelled(interface, seed, how, effort):
        yield Question(name, sizes, inputs, family=family)


def at_window(
    interface: Interface, window: int, seed: int, how: Preprocessing | None
) -> tuple[list[Question], dict[str, str]]:
    """Questions at the last token that sees all tokens before it, and at the first that does not; also as a prompt.

    Returns the questions, and why others are not asked, by label.
    """
    masks = [str(s.shape[-1]) for s in interface.inputs.values() if fills.is_left(s)]
    if not masks:
        return [], {"window's end": "no dimension says how long a text is: the places of its tokens are drawn"}
    before, now = model_interface.parts(masks[0])
    lengths = {
        "window's end": {before: window - 1, now: 1},
        "beyond the window": {before: window, now: 1},
        "prompt beyond the window": {before: 0, now: window + 1},
    }
    questions, not_asked = [], {}
    for label, own in lengths.items():
        if all(size in interface.dims[name].sizes for name, size in own.items()):
            sizes = {**model_interface.example_sizes(interface.dims), **own}
            questions.append(Question(label, sizes, fills.draw(interface.inputs, sizes, seed, how)))
        else:
            not_asked[label] = f"the window is of {window} tokens, and dims has no such text"
    return questions, not_asked


def at_shapes(
    interface: Interface, shapes: Sequence[Mapping[str, Sequence[int]]], seed: int, how: Preprocessing | None
) -> Iterator[Question]:
    """Questions at the shapes of the setting, in the ranges of `dims` or not; other inputs have the example's shape.

    Raises ConfigError for an input that does not exist.
    """
    example = model_interface.example_sizes(interface.dims)
    usual = [{n: s.at(z) for n, s in interface.inputs.items()} for z in model_interface.cases(interface.dims).values()]
    for own in shapes:
        if unknown := [n for n in own if n not in interface.inputs]:
            raise ConfigError(
                f"shapes names '{unknown[0]}', which is no input{nearest(unknown[0], interface.inputs)}",
                allowed=listed(interface.inputs),
            )
        specs = {n: replace(s, shape=list(own.get(n, s.at(example)))) for n, s in interface.inputs.items()}
        if wrong := [n for n in own if len(own[n]) != len(interface.inputs[n].shape)]:
            raise ConfigError(
                f"shapes.{wrong[0]} is {list(own[wrong[0]])}, and it has {interface.inputs[wrong[0]].shape}"
            )
        if (drawn := {n: list(s.shape) for n, s in specs.items()}) in usual:
            continue  # the same draw once more
        usual.append(drawn)
        label = ", ".join(f"{n} {model_interface.says(shape)}" for n, shape in own.items())
        yield Question(label, None, fills.draw(specs, {}, seed, how))


def of_photographs(
    interface: Interface,
    photographed: str | None,
    shapes: Sequence[Mapping[str, Sequence[int]]],
    seed: int,
    how: Preprocessing,
) -> Iterator[Question]:
    """Each photograph by itself, and the first one in batches whose rows differ; then drawn ones of other sizes.

    Args:
        interface: Of the model.
        shapes: Of the other inputs, for further cases with the first photograph.
        photographed: The input that photographs are for; None for the only one of four dimensions.
        seed: For draws, those of the other inputs too.
        how: The model's preprocessing.

    Raises:
        ConfigError: When the input is not clear, or cannot be a photograph.
    """
    import numpy as np

    fitting = [n for n, s in interface.inputs.items() if len(s.shape) == 4 and s.dtype.startswith("float")]
    chosen = [n for n in fitting if photographed in (None, n)]
    if len(chosen) != 1:
        raise ConfigError(
            f"photographed is {photographed}, and {listed(fitting) or 'no input'} could be photographs",
            allowed=f"one of {listed(fitting)}" if fitting else "a floating-point input of four dimensions",
            command=f"stages.reference.photographed={fitting[0]}" if fitting else "",
        )
    name, spec = chosen[0], interface.inputs[chosen[0]]
    photographs = [images.from_file(f) for f in fills.pictures({name: spec})]
    smallest = {n: d.min for n, d in interface.dims.items()}
    requests = [(p, interface.inputs, smallest) for p in (*photographs, *images.drawn(seed))]
    first = requests[0][0]
    requests += [
        (first, interface.inputs, sizes)
        for sizes in model_interface.cases(interface.dims).values()
        if sizes != smallest
    ]
    for own in shapes:
        if name not in own:
            bent = {n: replace(s, shape=list(own.get(n, s.shape))) for n, s in interface.inputs.items()}
            requests.append((first, bent, smallest))
    for number, (photograph, inputs, sizes) in enumerate(requests):
        batch, *_ = shape = spec.at(sizes)
        rows = [images.variant(photograph, i) for i in range(batch)]
        prepared = np.stack([images.prepared(row, *how.size(shape), how) for row in rows]).astype(spec.dtype)
        drawn = {**fills.draw(inputs, sizes, seed, how), name: prepared}
        at = sizes if inputs is interface.inputs else None
        yield Question(f"photograph {number}", at, drawn, {name: np.stack(rows)})


def of_samples(rows: Rows, interface: Interface, count: int, seed: int) -> Iterator[Question]:
    """Real inputs, chosen at random, in batches of those with the same shapes.

    Raises:
        StageError: For a sample that cannot be read or does not fit, and where the inputs have no common batch.
    """
    import numpy as np

    from stages.data import rows as data_rows

    chosen = np.random.default_rng([seed, *b"asked"]).permutation(len(rows))[:count]
    alike: dict[tuple[Any, ...], list[Arrays]] = {}
    for place in chosen:
        inputs = rows[int(place)].inputs
        alike.setdefault(tuple(v.shape for v in inputs.values()), []).append(inputs)
    batches = [
        [*part[places], *[part[places][-1]] * more]
        for part in alike.values()
        for places, more in data_rows.batches(interface, len(part), most=TOGETHER)
    ]
    for number, batch in enumerate(batches, 1):
        inputs = {n: np.stack([row[n] for row in batch]) for n in interface.inputs}
        yield Question(f"{SAMPLES} {number}", None, inputs, family=families.DRAWS)


def problems(shapes: Sequence[Any], inputs: Mapping[str, Any] | None) -> Iterator[Problem]:
    """What is wrong with `shapes` before any work."""
    for own in shapes:
        if not own:
            yield Problem("shapes has {}", allowed="inputs and their shapes: {input: [4, 3, 224, 224]}")
        for name, shape in own.items():
            if not shape or not all(type(n) is int and n > 0 for n in shape):
                yield Problem(f"shapes has {name}: {shape}", allowed="numbers from 1 up")
            elif inputs is not None and name not in inputs:
                wrong = f"shapes names '{name}', which is no input{nearest(name, inputs)}"
                yield Problem(wrong, allowed=listed(inputs))
