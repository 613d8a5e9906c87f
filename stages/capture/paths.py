"""Which path a model's code takes at which sizes, found by running forward without data.

A trace has only the example's path. Sizes at which the code takes another one are searched here: forward runs on
tensors that have a shape and no values, and its steps in the model's files are compared. So are the weights of each
step: a list of layers may be indexed by a size.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
import logging
import math
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.capture import unsupported
from stages.interface.interface import Dim, Interface, example_sizes

# Not one of our loggers, so it reaches the log file alone.
log = logging.getLogger("vendor")

# How many calls and steps of Python a search may take, which is some seconds; and how many sizes it tries.
EFFORT = 400_000
FEWEST, MOST = 12, 250

# One step of the model's code: its file, function, line, and place in the function's bytecode; or an operator that is
# called there, by its name with its weights and fractions.
Step = tuple[str, str, int, Any]
Sizes = Mapping[str, int]


@dataclass(frozen=True)
class Parting:
    """Sizes at which forward takes another path than at the example's.

    Args:
        sizes: The sizes of the dynamic dimensions, by name, with the least work on this path.
        place: The last line that both paths share, "net.py:8 in forward: if h > w:".
        line: The same as "net.py:8".
    """

    sizes: Sizes
    place: str
    line: str


@dataclass(frozen=True)
class Search:
    """The result of a search for other paths.

    Args:
        partings: One for each other path.
        sizes_run: At how many sizes forward ran.
        every: Whether those are all that `dims` allows.
        stopped: Why forward cannot run without data at the example's sizes; empty where it can.
    """

    partings: Sequence[Parting]
    sizes_run: int
    every: bool
    stopped: str = ""


@dataclass(frozen=True)
class _Way:
    """The steps of forward in the model's files, and the number of all calls and steps of Python."""

    steps: tuple[Step, ...]
    effort: int


def search(bound: Any, interface: Interface, sizes: Sequence[Sizes] | None = None, *, operands: bool = False) -> Search:
    """Runs forward without data at many sizes, and returns those that take another path than the example's.

    Args:
        bound: The module, as captures have it.
        interface: The module's interface.
        sizes: Where to search; None for the whole of `dims`, at as many sizes as a budget of steps allows.
        operands: Whether the same steps with other weights and fractions count as another path.
    """
    usual = example_sizes(interface.dims)
    try:
        _run(without_data(bound), interface, usual)  # the first run imports modules, whose steps do not count
        way = _way(bound, interface, usual, operands)
    except Exception as e:  # values decide, or the model uses tensors from outside
        log.info("forward cannot be run without data", exc_info=e)
        return Search([], 0, False, f"{type(e).__name__}")
    count = min(max(EFFORT // way.effort, FEWEST), MOST)
    chosen = some(sizes, count) if sizes is not None else spread(interface.dims, count)
    by_steps: dict[tuple[Step, ...], Parting] = {}
    sizes_run = 1
    for at in sorted(chosen, key=functools.partial(work, interface)):
        if at == usual:
            continue
        try:
            other = _way(bound, interface, at, operands)
        except Exception as e:  # a model may reject sizes
            log.info("forward cannot be run without data at %s", at, exc_info=e)
            continue
        sizes_run += 1
        if other.steps != way.steps and other.steps not in by_steps:
            by_steps[other.steps] = Parting(at, *_parting(way.steps, other.steps))
    every = sizes is None and math.prod(len(d.sizes) for d in interface.dims.values()) <= sizes_run
    return Search(list(by_steps.values()), sizes_run, every)


def spread(dims: Mapping[str, Dim], count: int) -> list[Sizes]:
    """At most `count` sizes spread over `dims`, the same every time; all sizes, if there are no more.

    Otherwise the corners; each dimension by itself through its range, the others as in the example; every order of two
    dimensions; and some random ones.
    """
    names = list(dims)
    if math.prod(len(d.sizes) for d in dims.values()) <= count:
        return [dict(zip(names, at, strict=True)) for at in itertools.product(*(d.sizes for d in dims.values()))]
    chosen: dict[tuple[int, ...], None] = {}
    for at in itertools.chain(_ends(dims), _sweeps(dims, max(count // (2 * len(dims)), 2)), _orders(dims)):
        chosen.setdefault(tuple(at[n] for n in names))
    drawn = random.Random(0)
    for _ in range(count):
        chosen.setdefault(tuple(drawn.choice(d.sizes) for d in dims.values()))
    return [dict(zip(names, at, strict=True)) for at in itertools.islice(chosen, count)]


def some(items: Sequence[Sizes], count: int) -> list[Sizes]:
    """The first, the last and some between, at most `count`."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def work(interface: Interface, sizes: Sizes) -> int:
    """How many numbers the inputs have at some sizes."""
    return sum(math.prod(spec.at(sizes)) for spec in interface.inputs.values())


def _ends(dims: Mapping[str, Dim]) -> Iterator[Sizes]:
    yield {n: d.min for n, d in dims.items()}
    yield {n: d.max for n, d in dims.items()}
    for one in dims:
        yield {n: d.max if n == one else d.min for n, d in dims.items()}
        yield {n: d.min if n == one else d.max for n, d in dims.items()}


def _sweeps(dims: Mapping[str, Dim], count: int) -> Iterator[Sizes]:
    """Each dimension through its range by itself."""
    usual = example_sizes(dims)
    for name, dim in dims.items():
        step = max((len(dim.sizes) - 1) / max(count - 1, 1), 1)
        places = sorted({min(round(i * step), len(dim.sizes) - 1) for i in range(count)})
        yield from ({**usual, name: dim.sizes[place]} for place in places)


def _orders(dims: Mapping[str, Dim]) -> Iterator[Sizes]:
    """Sizes of two dimensions beside each other in either order, and equal, where their ranges allow it."""
    usual = example_sizes(dims)
    for (one, first), (other, second) in itertools.permutations(dims.items(), 2):
        for size in (usual[one], first.sizes[len(first.sizes) // 2]):
            near = [n for n in (size - second.multiple, size, size + second.multiple) if n in second.sizes]
            yield from ({**usual, one: size, other: n} for n in near)


def _parting(way: Sequence[Step], other: Sequence[Step]) -> tuple[str, str]:
    """The last common line; where only the weights differ, the last line that is not in a layer of torch."""
    same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(way, other, strict=False)))
    before = way[: max(same, 1)]
    if same < len(way) and type(way[same][3]) is tuple:
        before = [step for step in before if "/torch/nn/" not in step[0]] or before
    file, function, line, _ = before[-1]
    frame = unsupported.Frame(file, line, function)
    return str(frame), f"{file.rpartition('/')[2]}:{line}"


def _way(bound: Any, interface: Interface, sizes: Sizes, operands: bool) -> _Way:
    """The steps of forward at some sizes. Raises what forward raises without data."""
    module = without_data(bound)
    steps: list[Step] = []
    calls = 0
    watched = functools.cache(unsupported.is_models)

    def enter(frame: Any, event: str, arg: Any) -> Any:
        nonlocal calls
        calls += 1
        if not watched(frame.f_code.co_filename):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return step

    def step(frame: Any, event: str, arg: Any) -> Any:
        if event == "opcode":
            code = frame.f_code
            steps.append((code.co_filename, code.co_name, frame.f_lineno, frame.f_lasti))
        return step

    with _operands(module, steps) if operands else contextlib.nullcontext():
        before = sys.gettrace()
        sys.settrace(enter)
        try:
            _run(module, interface, sizes)
        finally:
            sys.settrace(before)
    return _Way(tuple(steps), calls + len(steps))


def _run(module: Any, interface: Interface, sizes: Sizes) -> None:
    import torch

    with torch.device("meta"), torch.no_grad():
        module(*(torch.empty(s.at(sizes), dtype=getattr(torch, s.dtype)) for s in interface.inputs.values()))


def _operands(module: Any, steps: list[Step]) -> Any:
    """While it is entered, adds each operator to the steps, with the weights and fractions among its arguments."""
    from torch.utils import _pytree as pytree
    from torch.utils._python_dispatch import TorchDispatchMode

    number = {id(t): n for n, t in enumerate(tensors(module))}

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            leaves = pytree.tree_leaves((args, kwargs))
            operands = tuple(
                v if type(v) is float else number[id(v)] for v in leaves if type(v) is float or id(v) in number
            )
            if steps:
                steps.append((*steps[-1][:3], (str(func), *operands)))
            return func(*args, **(kwargs or {}))

    return Watch()  # type: ignore[no-untyped-call]


def without_data(module: Any) -> Any:
    """A copy of a module whose tensors have shapes and no values. Running the copy does not change the module."""
    import torch

    def bare(tensor: Any) -> Any:
        empty = torch.empty_like(tensor, device="meta", requires_grad=False)
        return torch.nn.Parameter(empty, requires_grad=False) if isinstance(tensor, torch.nn.Parameter) else empty

    return copy.deepcopy(module, {id(t): bare(t) for t in tensors(module)})


def tensors(module: Any) -> Iterator[Any]:
    """Every tensor of a module: parameters, buffers, and those in its attributes."""
    import torch

    pending: list[Any] = [part.__dict__ for part in module.modules()]
    visited: set[int] = set()
    while pending:
        container = pending.pop()
        visited.add(id(container))
        for value in container.values() if isinstance(container, dict) else container:
            if torch.is_tensor(value):
                yield value
            elif type(value) in (dict, list, tuple) and id(value) not in visited:
                pending.append(value)
