"""What a capture promises: that it answers as the model at every size of `dims`, and not only at the example's.

Where sizes are found at which it may not, it is asked there beside the model. What differs ends the run; what could be
neither proved nor broken is told as NOT CHECKED.
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

# A capture runs the kernels that the model runs: what is beyond this goes another way.
SAME = Tolerance(max_rel=1e-3, p99_rel=1e-3, cosine=0.999, top1=0.0)
# What floating-point inputs are multiplied by, so that limits inside the model are met on both sides.
SCALES = (1.0, -30.0, 0.0)
# At how many sizes a condition that does not hold is asked, where nothing says which of them matter.
ASKED = 3
LOOKED_AT = 48
SEED = 0
ONE_WAY = "code that goes one way at every size of model.dims, or dims within which it does"


@dataclass
class Judged:
    """What is known of a capture's sizes.

    Args:
        asked: Where it might have answered otherwise, and did not.
        open: What could be neither proved nor broken.
    """

    asked: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def add(self, parting: Parting, told: str | None) -> None:
        """Another way, and what `Asking.differ` said of it."""
        if told is None:
            self.open.append(f"{_says(parting.sizes)}, which the model itself rejects, at {parting.line}")
        else:
            self.asked.append(f"{parting.line} goes another way at {_says(parting.sizes)}: the same answers there")

    def notes(self, says: str) -> Notes:
        """The notes of the capture's artifact."""
        sizes = {name: lines for name, lines in (("asked", self.asked), ("not_checked", self.open)) if lines}
        notes = Notes(says=says, caution=f"NOT CHECKED: {listed(self.open, 3)}" if self.open else "")
        if sizes:
            notes["claims"] = {"sizes": sizes}
        return notes


class Asking:
    """The model and its capture beside each other, at sizes of one's own.

    Args:
        bound: The module, as captures have it. It is asked as a copy: buffers that forward writes stay as they are.
        captured: Gives what came of it, to be called with the same tensors; asked for when it is needed.
        reference: Says how inputs are drawn.
    """

    def __init__(self, bound: Any, captured: Callable[[], Any], reference: Artifact) -> None:
        self.interface = Interface.of(reference)
        self.bound, self.reference = bound, reference
        self._make = captured
        self._inputs: Mapping[str, Input] = reference_cases.drawn(reference)

    @functools.cached_property
    def _captured(self) -> Any:
        return self._make()

    def differ(self, sizes: Sizes, scales: Sequence[float] = SCALES) -> str | None:
        """How the capture answers otherwise than the model; "" where it does not, None where the model itself fails."""
        agreed: str | None = None
        for scale in scales if any(s.dtype.startswith("float") for s in self._inputs.values()) else scales[:1]:
            try:
                wanted = self._answer(_apart(self.bound), sizes, scale)
            except Exception:  # a model raises anything
                break
            if told := self._beside(wanted, sizes, scale):
                again = self._answer(_apart(self.bound), sizes, scale)
                if not comparison.compared(again, wanted, SAME)[1]:  # else no fault of the capture's
                    return told
            agreed = ""
        return agreed

    def _beside(self, wanted: Mapping[str, Any], sizes: Sizes, scale: float) -> str:
        try:
            found = self._answer(self._captured, sizes, scale)
        except Exception as e:  # torch raises anything; TorchScript says what was wrong in its last line
            return f"it cannot be run: {(str(e).strip() or type(e).__name__).splitlines()[-1]}"
        return next(iter(comparison.compared(found, wanted, SAME)[1]), "")

    def _answer(self, ask: Any, sizes: Sizes, scale: float) -> dict[str, Any]:
        import numpy as np
        import torch

        drawn = fills.draw(self._inputs, sizes, SEED)
        given = [torch.from_numpy(v * np.asarray(scale, v.dtype) if v.dtype.kind == "f" else v) for v in drawn.values()]
        with torch.inference_mode(), torch.random.fork_rng(devices=[]):
            returned = ask(*given)
        return {n: t.detach().cpu().numpy() for n, t in zip(self.interface.outputs, returned, strict=True)}


def of_program(program: Any, bound: Any, reference: Artifact) -> Judged:
    """Holds a program that torch.export has just captured to its conditions at every size of `dims`.

    Raises:
        CheckFailed: When it answers otherwise than the model at a size where a condition does not hold.
    """
    interface = Interface.of(reference)
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


def of_restricted(program: Any, bound: Any, reference: Artifact) -> None:
    """Holds a program whose sizes torch.export restricted as it liked to every size of `dims`.

    Raises:
        CheckFailed: When a dimension came out fixed, or a condition does not hold everywhere or is not proved to.
    """
    interface = Interface.of(reference)
    for dim, (size, place) in conditions.fixed(program, interface).items():
        raise CheckFailed(
            f"model.dims.{dim} cannot be dynamic under torch.export: it came out fixed at {size}{_at(place)}",
            allowed="dimensions that the model's code does not fix",
            command="capture=trace, which keeps it where the code fixes it only while torch.export looks on, as "
            "recurrent layers do; capture=auto tries every capture; or a number in model.inputs.NAME.shape",
        )
    for condition in conditions.under(program, interface):
        broken, every = condition.broken(interface.dims)
        # torch.export takes 1 for a size like any other, as it does with sizes of its own solver.
        sizes = next((at for at in broken if 1 not in at.values()), None)
        if sizes is None and every:
            continue
        dims = listed(f"model.dims.{d}" for d in condition.dims or interface.dims)
        wrong = f"is not so at {_says(sizes)}" if sizes else "nothing proves"
        raise CheckFailed(
            f"{dims} cannot be dynamic under torch.export: it goes by {condition.text}, which {wrong}"
            f"{_at(condition.place)}",
            allowed=ONE_WAY,
            command=_by_script(paths.some(broken, LOOKED_AT), Asking(bound, lambda: bound, reference)),
        )


def _ask_where_broken(condition: Condition, broken: Sequence[Sizes], asking: Asking, judged: Judged) -> None:
    """Sizes at which forward goes another way are asked first; where none is known to, some of all that there are."""
    usual = example_sizes(asking.interface.dims)
    whole = sorted(({**usual, **at} for at in broken), key=lambda at: paths.work(asking.interface, at))
    search = paths.search(asking.bound, asking.interface, paths.some(whole, LOOKED_AT))
    chosen = [p.sizes for p in search.partings] or paths.some(whole, ASKED)
    refused = []
    for sizes in chosen:
        told = asking.differ(sizes)
        if told:
            place = condition.place or next((p.place for p in search.partings), "")
            raise _broken(condition.text, place, sizes, told, asking)
        refused += [sizes] if told is None else []
    if len(refused) < len(chosen):
        judged.asked.append(f"{condition.text} is not so at {_says(chosen[0])}: the same answers there")
    if refused:
        judged.open.append(f"{_says(refused[0])}, which the model itself rejects, at {condition.line}")
    elif search.stopped:
        judged.open.append(f"sizes at which {condition.text} is not so, but for {listed(map(_says, chosen), 3)}")


def _ask_at_one(asking: Asking, judged: Judged) -> None:
    """torch.export takes every dynamic dimension for one of two and more: what happens at less leaves no condition."""
    interface = asking.interface
    usual = example_sizes(interface.dims)
    few = [(name, size) for name, dim in interface.dims.items() for size in dim.sizes if size < 2]
    for name, least in few:
        if not paths.search(asking.bound, interface, [{**usual, name: least}]).partings:
            continue
        others = [{**at, name: least} for at in paths.spread(interface.dims, paths.MOST)]
        for parting in paths.search(asking.bound, interface, others).partings:
            if told := asking.differ(parting.sizes):
                raise _broken(f"{name} > {least}", parting.place, parting.sizes, told, asking)
            judged.add(parting, told)


def of_trace(traced: Path, fixed: Sequence[str], bound: Any, reference: Artifact) -> Judged:
    """Searches for sizes at which the model goes another way than in a trace, and asks the trace there.

    The tracer says nothing of a list that is indexed by a size, so there is always something to search, if less.

    Args:
        traced: The file of the trace. In memory it shares the model's buffers.
        fixed: The lines where the tracer fixed something, "net.py:27".
        bound: The module that was traced.
        reference: Of it.

    Raises:
        CheckFailed: When the trace answers otherwise than the model, or cannot be run.
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
    if left := [line for line in fixed if line not in {p.line for p in search.partings}]:
        judged.open.append(_left(left, search))
    return judged


def _left(fixed: Sequence[str], search: Search) -> str:
    what = f"branches or sizes are fixed as the example took them, at {listed(fixed, 5)}"
    if search.stopped or search.asked < 2:
        return f"{what}; no other side was searched, since forward cannot be run without data"
    return f"{what}; no other side was found at {search.asked} sizes{', all that there are' if search.every else ''}"


def _orders(interface: Interface) -> Iterator[Sizes]:
    """Small sizes, of which each dimension is the largest once: a trace that has min(h, w) in it takes one of them."""
    dims = interface.dims
    small = {n: d.sizes[min(1, len(d.sizes) - 1)] for n, d in dims.items()}
    if len(dims) > 1:
        yield from ({**small, n: d.sizes[min(4, len(d.sizes) - 1)]} for n, d in dims.items())


def _broken(text: str, place: str, sizes: Sizes, told: str, asking: Asking) -> CheckFailed:
    return CheckFailed(
        f"what torch.export captured holds only where {text}: at {_says(sizes)}, {told}{_at(place)}",
        allowed=ONE_WAY,
        command=f"{_by_script([sizes], asking)}; capture=trace does not keep the branch either",
    )


def _other_way(place: str, sizes: Sizes, told: str, asking: Asking) -> CheckFailed:
    return CheckFailed(
        f"the trace goes the example's way alone, and the model another at {_says(sizes)}: {told}{_at(place)}",
        allowed=ONE_WAY,
        command=f"capture=export, which keeps sizes open and says what it cannot; {_by_script([sizes], asking)}",
    )


def _by_script(broken: Sequence[Sizes], asking: Asking) -> str:
    """The capture that keeps the branch, where it does at one of some sizes; else what the model or its YAML needs."""
    import torch

    usual = example_sizes(asking.interface.dims)
    with contextlib.suppress(Exception):  # the compiler raises anything
        scripted = torch.jit.script(_apart(asking.bound))
        kept = Asking(asking.bound, lambda: scripted, asking.reference)
        answers = (kept.differ({**usual, **sizes}) for sizes in broken)
        if next((told for told in answers if told is not None), None) == "":  # None where the model itself fails
            return "capture=script, which keeps the branch"
    return "torch.cond in the model, or a range in model.dims within which it goes one way"


def _apart(bound: Any) -> Any:
    """A copy that shares parameters, and has buffers and attributes of its own."""
    shared = {id(p): p for p in bound.parameters()}
    return copy.deepcopy(bound, shared)


def _says(sizes: Sizes) -> str:
    return ", ".join(f"{name}={size}" for name, size in sizes.items())


def _at(place: str) -> str:
    return f"\n    at {place}" if place else ""
