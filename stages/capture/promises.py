"""What a capture promises: the model's answers at every size of `dims`, and not only at the example's.

At sizes where they may differ, the capture runs beside the model. A difference ends the run; what could be neither
proved nor disproved is reported as NOT CHECKED.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.artifact import Artifact
from pipeline.errors import CheckFailed, listed
from pipeline.notes import Notes
from stages.capture import conditions, paths
from stages.capture.conditions import Condition
from stages.capture.paths import Parting, Search, Sizes
from stages.interface import fills
from stages.interface.interface import Input, Interface, example_sizes
from stages.portable import comparison
from stages.portable.comparison import Tolerance
from stages.reference import cases as reference_cases

# A capture runs the model's own kernels: a larger difference means another path.
SAME = Tolerance(max_rel=1e-3, p99_rel=1e-3, cosine=0.999, top1=0.0)
# Factors of floating-point inputs, so that limits inside the model are crossed on both sides.
SCALES = (1.0, -30.0, 0.0)
# At how many sizes to compare where a condition does not hold and nothing shows which sizes matter.
COMPARED = 3
LOOKED_AT = 48
SEED = 0
ONE_WAY = "code that goes one way at every size of model.dims, or dims within which it does"


class Broken(CheckFailed):
    """A program that is right only where it goes the example's way.

    Args:
        problems: The problem.
        sizes: Sizes at which the model goes another way.
    """

    def __init__(self, problems: Any, sizes: Sizes | None = None, **rest: str) -> None:
        super().__init__(problems, **rest)
        self.sizes: Sizes = sizes or {}


@dataclass
class Judged:
    """The judgement on a capture's sizes.

    Args:
        agreeing: Where its answers might have differed, and did not.
        open: Conditions that could be neither proved nor disproved.
    """

    agreeing: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def add(self, parting: Parting, difference: str | None) -> None:
        """Adds another path, and what `Asking.differ` returned for it."""
        if difference is None:
            self.open.append(f"{says(parting.sizes)}, which the model itself rejects, at {parting.line}")
        else:
            self.agreeing.append(f"{parting.line} goes another way at {says(parting.sizes)}: the same answers there")

    def notes(self, says: str) -> Notes:
        """The notes of the capture's artifact."""
        sizes = {name: lines for name, lines in (("asked", self.agreeing), ("not_checked", self.open)) if lines}
        notes = Notes(says=says, caution=f"NOT CHECKED: {listed(self.open, 3)}" if self.open else "")
        if sizes:
            notes["claims"] = {"sizes": sizes}
        return notes


class Asking:
    """Compares the model and its capture at chosen sizes.

    Args:
        bound: The module, as captures have it. A copy of it runs, so its buffers do not change.
        captured: Returns the capture, which takes the same tensors; called when it is needed.
        reference: The reference, with the fills of the inputs.
    """

    def __init__(self, bound: Any, captured: Callable[[], Any], reference: Artifact) -> None:
        self.interface = Interface.read(reference)
        self.bound, self.reference = bound, reference
        self._make = captured
        self._inputs: Mapping[str, Input] = reference_cases.drawn(reference)

    @functools.cached_property
    def _captured(self) -> Any:
        return self._make()

    def differ(self, sizes: Sizes, scales: Sequence[float] = SCALES) -> str | None:
        """How the capture's answers differ from the model's; "" if they do not, None if the model itself fails."""
        agreed: str | None = None
        for scale in scales if any(s.dtype.startswith("float") for s in self._inputs.values()) else scales[:1]:
            try:
                expected = self._answer(_apart(self.bound), sizes, scale)
            except Exception:  # a model raises anything
                break
            if difference := self._beside(expected, sizes, scale):
                again = self._answer(_apart(self.bound), sizes, scale)
                if not comparison.compared(again, expected, SAME)[1]:  # otherwise the model itself is not stable
                    return difference
            agreed = ""
        return agreed

    def _beside(self, expected: Mapping[str, Any], sizes: Sizes, scale: float) -> str:
        try:
            actual = self._answer(self._captured, sizes, scale)
        except Exception as e:  # torch raises anything; TorchScript says what was wrong in its last line
            return f"it cannot be run: {(str(e).strip() or type(e).__name__).splitlines()[-1]}"
        return next(iter(comparison.compared(actual, expected, SAME)[1]), "")

    def _answer(self, ask: Any, sizes: Sizes, scale: float) -> dict[str, Any]:
        import numpy as np
        import torch

        drawn = fills.draw(self._inputs, sizes, SEED)
        tensors = [
            torch.from_numpy(v * np.asarray(scale, v.dtype) if v.dtype.kind == "f" else v) for v in drawn.values()
        ]
        with torch.inference_mode(), torch.random.fork_rng(devices=[]):
            returned = ask(*tensors)
        return {n: t.detach().cpu().numpy() for n, t in zip(self.interface.outputs, returned, strict=True)}


def of_program(program: Any, bound: Any, reference: Artifact) -> Judged:
    """Checks the conditions of a program that torch.export has just captured, at every size of `dims`.

    Raises:
        CheckFailed: When its answers differ from the model's at a size where a condition does not hold.
    """
    interface = Interface.read(reference)
    asking = Asking(bound, lambda: _apart(program.module(check_guards=False)), reference)
    judged = Judged()
    for condition in conditions.under(program, interface):
        broken, every = condition.broken(interface.dims)
        if broken:
            _ask_where_broken(condition, broken, asking, judged)
        elif not every:
            judged.open.append(f"whether {condition.text} holds at every size, at {condition.line}")
    _ask_at_one(asking, judged)
    return judged


def refuse_fixed(program: Any, interface: Interface) -> None:
    """Raises CheckFailed when torch.export fixed a dimension of a program whose sizes it could restrict itself."""
    for dim, (size, place) in conditions.fixed(program, interface).items():
        raise CheckFailed(
            f"model.dims.{dim} cannot be dynamic under torch.export: it came out fixed at {size}{_at(place)}",
            allowed="dimensions that the model's code does not fix",
            command="capture=trace, which keeps it where the code fixes it only while torch.export looks on, as "
            "recurrent layers do; capture=auto tries every capture; or a number in model.inputs.NAME.shape",
        )


def _ask_where_broken(condition: Condition, broken: Sequence[Sizes], asking: Asking, judged: Judged) -> None:
    """Compares at sizes where forward takes another path; if none is found, at some of all broken sizes."""
    usual = example_sizes(asking.interface.dims)
    whole = sorted(({**usual, **at} for at in broken), key=lambda at: paths.work(asking.interface, at))
    search = paths.search(asking.bound, asking.interface, paths.some(whole, LOOKED_AT), operands=True)
    chosen = [p.sizes for p in search.partings] or paths.some(whole, COMPARED)
    refused = []
    for sizes in chosen:
        difference = asking.differ(sizes)
        if difference:
            place = condition.place or next((p.place for p in search.partings), "")
            raise _broken(condition.text, place, sizes, difference, asking)
        refused += [sizes] if difference is None else []
    if len(refused) < len(chosen):
        judged.agreeing.append(f"{condition.text} is not so at {says(chosen[0])}: the same answers there")
    if refused:
        judged.open.append(f"{says(refused[0])}, which the model itself rejects, at {condition.line}")
    elif search.stopped:
        judged.open.append(f"sizes at which {condition.text} is not so, but for {listed(map(says, chosen), 3)}")


def _ask_at_one(asking: Asking, judged: Judged) -> None:
    """Compares at sizes 0 and 1: torch.export assumes 2 or more without leaving a condition."""
    interface = asking.interface
    usual = example_sizes(interface.dims)
    few = [(name, size) for name, dim in interface.dims.items() for size in dim.sizes if size < 2]
    for name, least in few:
        if not paths.search(asking.bound, interface, [{**usual, name: least}]).partings:
            continue
        others = [{**at, name: least} for at in paths.spread(interface.dims, paths.MOST)]
        for parting in paths.search(asking.bound, interface, others).partings:
            if difference := asking.differ(parting.sizes):
                raise _broken(f"{name} > {least}", parting.place, parting.sizes, difference, asking)
            judged.add(parting, difference)


def of_trace(traced: Path, fixed: Sequence[str], bound: Any, reference: Artifact) -> Judged:
    """Searches for sizes at which the model takes another path than its trace, and compares both there.

    The tracer does not warn about a list that is indexed by a size, so there is a search without warnings too, over
    fewer sizes.

    Args:
        traced: The file of the trace. In memory it shares the model's buffers.
        fixed: The lines where the tracer fixed something, "net.py:27".
        bound: The module that was traced.
        reference: The module's reference.

    Raises:
        CheckFailed: When the trace's answers differ from the model's, or it cannot be run.
    """
    import torch

    judged = Judged()
    asking = Asking(bound, lambda: torch.jit.load(traced), reference)  # type: ignore[no-untyped-call]
    sizes = None if fixed else paths.spread(asking.interface.dims, LOOKED_AT)
    search = paths.search(bound, asking.interface, sizes, operands=True)
    for parting in search.partings[:LOOKED_AT]:
        if wrong := asking.differ(parting.sizes):
            raise _other_way(parting.place, parting.sizes, wrong, asking)
        judged.add(parting, wrong)
    for at in _orders(asking.interface) if fixed else ():
        if wrong := asking.differ(at, SCALES[:1]):
            raise _other_way(listed(fixed, 3), at, wrong, asking)
    if unexplained := [line for line in fixed if line not in {p.line for p in search.partings}]:
        judged.open.append(_unsearched(unexplained, search))
    return judged


def _unsearched(fixed: Sequence[str], search: Search) -> str:
    what = f"branches or sizes are fixed as the example took them, at {listed(fixed, 5)}"
    if search.stopped or search.sizes_run < 2:
        return f"{what}; no other side was searched, since forward cannot be run without data"
    return (
        f"{what}; no other side was found at {search.sizes_run} sizes{', all that there are' if search.every else ''}"
    )


def _orders(interface: Interface) -> Iterator[Sizes]:
    """Small sizes in which each dimension is once the largest: a trace of min(h, w) has fixed one of the two."""
    dims = interface.dims
    small = {n: d.sizes[min(1, len(d.sizes) - 1)] for n, d in dims.items()}
    if len(dims) > 1:
        yield from ({**small, n: d.sizes[min(4, len(d.sizes) - 1)]} for n, d in dims.items())


def _broken(text: str, place: str, sizes: Sizes, difference: str, asking: Asking) -> Broken:
    return Broken(
        f"what torch.export captured holds only where {text}: at {says(sizes)}, {difference}{_at(place)}",
        sizes,
        allowed=ONE_WAY,
        command=f"{_by_script([sizes], asking)}; capture=trace does not keep the branch either",
    )


def _other_way(place: str, sizes: Sizes, difference: str, asking: Asking) -> CheckFailed:
    return CheckFailed(
        f"the trace goes the example's way alone, and the model another at {says(sizes)}: {difference}{_at(place)}",
        allowed=ONE_WAY,
        command=f"capture=export, which keeps sizes open and says what it cannot; {_by_script([sizes], asking)}",
    )


def _by_script(broken: Sequence[Sizes], asking: Asking) -> str:
    """The advice capture=script, if that keeps the branch at one of the sizes; else to change the model or its YAML."""
    import torch

    usual = example_sizes(asking.interface.dims)
    with contextlib.suppress(Exception):  # the compiler raises anything
        scripted = torch.jit.script(_apart(asking.bound))
        comparing = Asking(asking.bound, lambda: scripted, asking.reference)
        answers = (comparing.differ({**usual, **sizes}) for sizes in broken)
        if (
            next((difference for difference in answers if difference is not None), None) == ""
        ):  # None where the model itself fails
            return "capture=script, which keeps the branch"
    return "torch.cond in the model, or a range in model.dims within which it goes one way"


def _apart(bound: Any) -> Any:
    """A copy that shares the parameters, with its own buffers and attributes."""
    shared = {id(p): p for p in bound.parameters()}
    return copy.deepcopy(bound, shared)


def says(sizes: Sizes) -> str:
    """Sizes as one reads them: "h=16, w=8"."""
    return ", ".join(f"{name}={size}" for name, size in sizes.items())


def _at(place: str) -> str:
    return f"\n    at {place}" if place else ""
