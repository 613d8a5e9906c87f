"""Whether a model is a function of its inputs: the same question gives the same answer, later and in another order."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.errors import CheckFailed, Problem, listed
from stages.interface.interface import says, says_all
from stages.reference.eager_model import EagerModel
from stages.reference.questions import Question
from stages.reference.watch import place

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray[Any, Any]]

# The largest difference between two answers of one model, as a share of the largest: threads split sums differently.
SAME = 1e-5
# How often each random number is drawn to find its extremes: enough to see dropout of one in a thousand. Many numbers
# at once are drawn less often: one of them will show it.
DRAWS, DRAWS_OF_MANY, MANY = 2**13, 2**10, 2**10
MOST_PARTS = 4  # that a message names
ALLOWED = "the same answer whenever it is asked: what is converted is a function of the inputs"
# torch's names of operators, and the names that people write.
WRITTEN = {"native_dropout": "dropout", "bernoulli_": "dropout or bernoulli", "bernoulli": "dropout or bernoulli"}


def demand(
    ask: Any, take: Callable[[Any], Arrays], questions: Sequence[Question], answers: Mapping[str, Arrays]
) -> None:
    """Asks the smallest question again, twice, then the first, in the state that the model is in now.

    Twice, since a state may be dropped where the size of the batch is another than before, as Silero's is.

    A model that draws random numbers is also asked with the least and the greatest of them.

    Args:
        ask: The model: inputs to what it returns.
        take: Turns what it returns into outputs by name.
        questions: All questions.
        answers: Its answers to them, by label.

    Raises:
        CheckFailed: When an answer differs, with the cause where that can be found.
    """
    smallest = min(questions, key=lambda q: sum(v.size for v in q.inputs.values()))
    for question in (smallest, smallest, questions[0]):
        returned = ask(question.inputs, restoring=False) if isinstance(ask, EagerModel) else ask(question.inputs)
        if difference := _unlike(take(returned), answers[question.label]):
            shape = says_all(question.inputs)
            cause = _cause(ask, question)
            raise CheckFailed(
                f"the model's answers differ when it is asked again: at {question.label} ({shape}), {difference}"
                + (f"; {cause.what}" if cause.what else ""),
                allowed=ALLOWED,
                command=cause.command,
            )
    if isinstance(ask, EagerModel):
        if _random(ask, smallest):
            _demand_whatever_is_drawn(ask, take, smallest)
        ask.restore()


def _demand_whatever_is_drawn(ask: EagerModel, take: Callable[[Any], Arrays], question: Question) -> None:
    """Raises CheckFailed where rare random numbers change the answer."""
    import torch

    answers = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the same verdict every time
        for extreme in (torch.minimum, torch.maximum):
            with _drawing(extreme):
                answers.append(take(ask(question.inputs)))
    if difference := _unlike(answers[1], answers[0]):
        cause = _cause(ask, question)
        raise CheckFailed(
            f"the model's answers differ with other random numbers: {difference}; {cause.what}",
            allowed=ALLOWED,
            command=cause.command,
        )


def _unlike(again: Arrays, before: Arrays) -> str:
    import numpy as np

    for name, value in before.items():
        other = again[name]
        if other.shape != value.shape:
            return f"output '{name}' has shape {says(other.shape)}, and had {says(value.shape)}"
        if value.dtype.kind != "f":
            if differing := int((other != value).sum()):
                return f"output '{name}' differs in {differing} of {value.size} elements"
            continue
        finite = np.isfinite(value)
        if not np.array_equal(finite, np.isfinite(other)):
            return f"output '{name}' has NaN or infinities at other places"
        error = np.abs(other[finite].astype("f8") - value[finite]).max(initial=0)
        if error > SAME * (largest := np.abs(value[finite]).max(initial=0)):
            return f"output '{name}' is off by {error:.1e}, where the largest is {largest:.1e}"
    return ""


def _cause(ask: Any, question: Question) -> Problem:
    """Why a model's answers differ, and what to do about it."""
    if not isinstance(ask, EagerModel):
        return Problem("the file draws random numbers or keeps a state", command="a file of a model that does neither")
    if drawn := _random(ask, question):
        dropout = any("dropout" in operator for operator in drawn)
        operators = listed(f"{operator}{place}" for operator, place in drawn.items())
        return Problem(
            f"forward draws random numbers: {operators}",
            command="F.dropout(x, p, training=self.training) or nn.Dropout in the model, which eval() turns off"
            if dropout
            else "the random numbers as an input of the model",
        )
    if ask.written:
        return Problem(
            f"forward writes to {listed(sorted(ask.written))}",
            command="the state as an input and an output of the model",
        )
    if names := ask.set_attributes(question.inputs):
        parts = [f"model.part={n}" for n, _ in ask.parts]
        return Problem(
            f"forward sets {listed(names, 4)}",
            command="the state as an input and an output of the model"
            + (f"; {' or '.join(parts)}, if such a part takes it as an input" if 0 < len(parts) <= MOST_PARTS else ""),
        )
    return Problem(
        "no buffer or attribute was written to and torch drew no random number, so forward keeps its state elsewhere",
        command="a forward that draws its random numbers by torch and has its state as an input and an output",
    )


def _random(ask: EagerModel, question: Question) -> dict[str, str]:
    """The operators that draw random numbers, each with the model's line."""
    with _drawing() as operators:
        ask(question.inputs)
    return operators


@contextlib.contextmanager
def _drawing(extreme: Callable[[Any, Any], Any] | None = None) -> Iterator[dict[str, str]]:
    """Collects the operators that draw random numbers; with `extreme`, they draw the extreme of many draws."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    operators: dict[str, str] = {}

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
        supports_higher_order_operators = True

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            # torch.cond and the like have no tags.
            if torch.Tag.nondeterministic_seeded not in getattr(func, "tags", ()) or _is_off(func, args, kwargs):
                return func(*args, **kwargs)
            name = func.overloadpacket.__name__
            operators.setdefault(WRITTEN.get(name, name), place())
            return _extreme(extreme, func, args, kwargs) if extreme else func(*args, **kwargs)

    with Watch():  # type: ignore[no-untyped-call]
        yield operators


def _is_off(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether an operator that can draw random numbers draws none: attention and recurrent layers without dropout."""
    arguments = {a.name: a.default_value for a in func._schema.arguments if a.has_default_value()}
    arguments |= dict(zip((a.name for a in func._schema.arguments), args, strict=False)) | dict(kwargs)
    rates = [arguments[name] for name in ("dropout_p", "dropout") if name in arguments]
    return 0 in rates or any(arguments.get(name) is False for name in ("train", "training"))


def _extreme(extreme: Callable[[Any, Any], Any], func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The operator's result with the extreme of many draws at each place."""
    from torch.utils import _pytree as pytree

    def drawn() -> tuple[list[Any], Any]:
        values, form = pytree.tree_flatten(func(*args, **kwargs))
        return [v.clone() for v in values], form

    most, form = drawn()
    for _ in range(DRAWS if sum(v.numel() for v in most) <= MANY else DRAWS_OF_MANY):
        most = [extreme(m, v) for m, v in zip(most, drawn()[0], strict=True)]
    if func._schema.is_mutable:
        args[0].copy_(most[0])
        return args[0]
    return pytree.tree_unflatten(most, form)
