"""Whether a model is a function of its inputs: it answers the same when it is asked again, later, in another order."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.errors import CheckFailed, Problem, listed
from stages.interface.interface import says, says_all
from stages.reference.asked import EagerModel
from stages.reference.questions import Question
from stages.reference.watch import place

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray[Any, Any]]

# How far two answers of one model may be apart, as a share of the largest: sums that threads share out as they come.
SAME = 1e-5
# How often each random number is drawn for its least and its greatest: dropout of one in a thousand shows. Many numbers
# at once are drawn less often: there one of them does.
DRAWS, DRAWS_OF_MANY, MANY = 2**13, 2**10, 2**10
ALLOWED = "the same answer whenever it is asked: what is converted is a function of the inputs"
# What torch calls the operators behind a name that people write.
WRITTEN = {"native_dropout": "dropout", "bernoulli_": "dropout or bernoulli", "bernoulli": "dropout or bernoulli"}


def demand(ask: Any, take: Callable[[Any], Arrays], asked: Sequence[Question], answers: Mapping[str, Arrays]) -> None:
    """Asks the first question and the smallest again, smallest first, with the state that the model is left in.

    A model that draws random numbers is asked with the least and the greatest of them besides.

    Args:
        ask: The model: inputs to what it returns.
        take: Outputs by name of what it returns.
        asked: The questions.
        answers: What it answered to them, by label.

    Raises:
        CheckFailed: When it answers otherwise, with the cause where that can be found.
    """
    smallest = min(asked, key=lambda q: sum(v.size for v in q.inputs.values()))
    for question in (smallest, asked[0]):
        returned = ask(question.inputs, restoring=False) if isinstance(ask, EagerModel) else ask(question.inputs)
        if told := _unlike(take(returned), answers[question.label]):
            shape = says_all(question.inputs)
            cause = _cause(ask, question)
            raise CheckFailed(
                f"the model answers otherwise when it is asked again: at {question.label} ({shape}), {told}"
                + (f"; {cause.what}" if cause.what else ""),
                allowed=ALLOWED,
                command=cause.command,
            )
    if isinstance(ask, EagerModel):
        if _random(ask, smallest):
            _demand_whatever_is_drawn(ask, take, smallest)
        ask.restore()


def _demand_whatever_is_drawn(ask: EagerModel, take: Callable[[Any], Arrays], question: Question) -> None:
    """Raises CheckFailed where random numbers that are seldom drawn decide."""
    import torch

    answers = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the same verdict every time
        for extreme in (torch.minimum, torch.maximum):
            with _drawing(extreme):
                answers.append(take(ask(question.inputs)))
    if told := _unlike(answers[1], answers[0]):
        cause = _cause(ask, question)
        raise CheckFailed(
            f"the model answers otherwise with other random numbers: {told}; {cause.what}",
            allowed=ALLOWED,
            command=cause.command,
        )


def _unlike(found: Arrays, wanted: Arrays) -> str:
    import numpy as np

    for name, value in wanted.items():
        other = found[name]
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
    """What makes a model answer otherwise, and what to do about it."""
    if not isinstance(ask, EagerModel):
        return Problem("the file draws random numbers or keeps a state", command="a file of a model that does neither")
    if drawn := _random(ask, question):
        dropout = any("dropout" in operator for operator in drawn)
        told = listed(f"{operator}{place}" for operator, place in drawn.items())
        return Problem(
            f"forward draws random numbers: {told}",
            command="F.dropout(x, p, training=self.training) or nn.Dropout in the model, which eval() turns off"
            if dropout
            else "the random numbers as an input of the model",
        )
    if ask.written:
        return Problem(
            f"forward writes to {listed(sorted(ask.written))}",
            command="the state as an input and an output of the model",
        )
    return Problem(
        "no buffer was written to and torch drew no random number, so forward keeps its state elsewhere",
        command="a forward that sets no attribute and draws its random numbers by torch, or takes them as inputs",
    )


def _random(ask: EagerModel, question: Question) -> dict[str, str]:
    """The operators that draw random numbers, each with the model's line."""
    with _drawing() as found:
        ask(question.inputs)
    return found


@contextlib.contextmanager
def _drawing(extreme: Callable[[Any, Any], Any] | None = None) -> Iterator[dict[str, str]]:
    """Gives the operators that draw random numbers while it lasts; with an extreme, that of many draws is drawn."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    found: dict[str, str] = {}

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
        supports_higher_order_operators = True

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            # torch.cond and the like have no tags.
            if torch.Tag.nondeterministic_seeded not in getattr(func, "tags", ()) or _is_off(func, args, kwargs):
                return func(*args, **kwargs)
            name = func.overloadpacket.__name__
            found.setdefault(WRITTEN.get(name, name), place())
            return _extreme(extreme, func, args, kwargs) if extreme else func(*args, **kwargs)

    with Watch():  # type: ignore[no-untyped-call]
        yield found


def _is_off(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether an operator that may draw draws nothing: attention and recurrent layers without dropout."""
    given = {a.name: a.default_value for a in func._schema.arguments if a.has_default_value()}
    given |= dict(zip((a.name for a in func._schema.arguments), args, strict=False)) | dict(kwargs)
    rates = [given[name] for name in ("dropout_p", "dropout") if name in given]
    return 0 in rates or any(given.get(name) is False for name in ("train", "training"))


def _extreme(extreme: Callable[[Any, Any], Any], func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What the operator draws, place by place the extreme of many times."""
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
