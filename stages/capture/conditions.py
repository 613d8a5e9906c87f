"""What torch.export assumed of sizes: the conditions that a program was captured under, in the YAML's own names.

torch.export takes one way at each branch on sizes and leaves the condition in the program as a guard. Exporters drop
guards without a word, so whoever hands a program on must know that they hold at every size of `dims`.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

from stages.capture import unsupported
from stages.interface.interface import Dim, Interface, parts, range_of

# Up to so many combinations of sizes a condition is tried at every one; a second's worth. Beyond, at the ends of each
# dimension, beside them, and at some that are spread over it.
EXHAUSTIVE = 250_000


@dataclass(frozen=True)
class Condition:
    """A relation between sizes that a program was captured under.

    Args:
        text: Of dimensions as the YAML names them: "h <= w".
        place: The model's line, or torch's where none is known: "net.py:8 in forward: if h > w:".
        dims: Those that it speaks of; None where it speaks of something else.
        proved: Whether the ranges of the dimensions alone say that it holds.
        code: It as Python, of the symbols' names; empty where that cannot be written.
        symbols: The symbols' names, each with its dimension, or a sum of them, and what that is divided by.
    """

    text: str
    place: str
    dims: tuple[str, ...] | None
    proved: bool = False
    code: str = ""
    symbols: Mapping[str, tuple[str, int]] | None = None

    @property
    def line(self) -> str:
        """The place as "net.py:8", without the folder that this machine has it in."""
        return self.place.partition(" in ")[0].rpartition("/")[2] or "a line that is not known"

    def broken(self, dims: Mapping[str, Dim]) -> tuple[list[dict[str, int]], bool]:
        """The sizes at which it does not hold, and whether it was tried at every combination there is.

        Only the dimensions that it speaks of are told.
        """
        if self.proved:
            return [], True
        if self.dims is None or not self.code:
            return [], False
        own = {name: dims[name] for name in self.dims}
        every = math.prod(len(d.sizes) for d in own.values()) <= EXHAUSTIVE
        spread = own.values() if every else [_some(d, EXHAUSTIVE, len(own)) for d in own.values()]
        choices = [d.sizes if isinstance(d, Dim) else d for d in spread]
        import torch

        code = compile(self.code, "<a condition>", "eval")
        symbols = [(s, [self.dims.index(d) for d in parts(dim)], by) for s, (dim, by) in (self.symbols or {}).items()]
        found = []
        for sizes in itertools.product(*choices):
            try:  # what torch's printer writes is builtin, or of one of these
                values = {s: sum(sizes[place] for place in at) // by for s, at, by in symbols}
                holds = eval(code, {"math": math, "torch": torch}, values)
            except Exception:  # a function that is not defined there, such as a logarithm of nothing
                holds, every = True, False
            if not holds:
                found.append(dict(zip(self.dims, sizes, strict=True)))
        return found, every


def _some(dim: Dim, total: int, dims: int) -> list[int]:
    """Sizes of one dimension, of which all combinations come to `total` at most: its ends, and evenly between."""
    count = max(int(total ** (1 / dims)), 4)
    if len(dim.sizes) <= count:
        return list(dim.sizes)
    step = (len(dim.sizes) - 1) / (count - 1)
    return sorted({dim.sizes[round(i * step)] for i in range(count)})


@contextlib.contextmanager
def telling_places() -> Iterator[None]:
    """Has torch keep the model's line with each condition: by itself it keeps the innermost, often one of its own."""
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    told = ShapeEnv._get_sloc

    def with_place(self: Any, *args: Any, **kwargs: Any) -> Any:
        return replace(told(self, *args, **kwargs), maybe_user_loc=unsupported.place_at(sys._getframe(1)) or None)

    with mock.patch.object(ShapeEnv, "_get_sloc", with_place):
        yield


def fixed(program: Any, interface: Interface) -> dict[str, tuple[int, str]]:
    """The dynamic dimensions that a program has as a number: that number, and the model's line where it is known."""
    environment = _environment(program)
    found = {}
    for size, dim in _axes(program, interface):
        if isinstance(size, int):
            found[dim] = (size, "")
        elif size.node.expr.is_Integer:
            place = environment.replacements_slocs.get(size.node._expr)
            found[dim] = (int(size.node.expr), _place(place) if place is not None else "")
    return found


def under(program: Any, interface: Interface) -> list[Condition]:
    """The conditions of a program that torch.export has just captured; of one that was read from a file none are known.

    Each is told once, in the order in which the model met them.
    """
    import sympy

    environment = _environment(program)
    if environment is None:
        return []
    symbols: dict[Any, tuple[str, int]] = {}
    said = [(guard.expr, guard.sloc) for guard in environment.guards]
    for size, dim in _axes(program, interface):
        if isinstance(size, int):
            continue
        # What the dimension began as, and what torch found it to be: a multiple of another symbol, say.
        began, became = size.node._expr, size.node.expr
        symbols[began] = (dim, 1)
        symbols |= {s: (dim, by) for s, by in _factors(became) if s not in symbols}
        if began != became:
            said.append((sympy.Eq(began, became), environment.replacements_slocs.get(began)))
    found: dict[Any, Condition] = {}
    # Where torch was told to assert at run time rather than to refuse: of sizes alone, as the guards are.
    asserted = (a.expr for several in environment.deferred_runtime_asserts.values() for a in several)
    said += [(expression, None) for expression in asserted if expression.free_symbols <= symbols.keys()]
    for expression, place in said:
        if expression not in (sympy.true, sympy.false) and expression not in found:
            found[expression] = _condition(expression, _place(place), symbols, interface)
    return list(found.values())


def _condition(expression: Any, place: str, symbols: Mapping[Any, tuple[str, int]], interface: Interface) -> Condition:
    import sympy
    from torch.utils._sympy.printers import PythonPrinter
    from torch.utils._sympy.value_ranges import ValueRanges, bound_sympy

    free = sorted(expression.free_symbols, key=str)
    named = {s: _named(symbols[s][0], interface) for s in free if s in symbols}
    of_dims = expression.xreplace({s: named[s] / symbols[s][1] for s in named})
    text = _written(of_dims)
    if len(named) < len(free):
        return Condition(text, place, None)
    if of_dims == sympy.true:  # as past+sequence of one input and the sum of two others'
        return Condition(text, place, (), proved=True)
    ranges = {}
    for symbol in free:
        dim, by = range_of(symbols[symbol][0], interface.dims), symbols[symbol][1]
        ranges[symbol] = ValueRanges(dim.min // by, dim.max // by)
    proved, code = False, ""
    with contextlib.suppress(Exception):  # torch's tables know most functions, and say so of others by failing
        proved = bound_sympy(expression, ranges) == ValueRanges(sympy.true, sympy.true)
        code = PythonPrinter().doprint(expression)
    told = {str(s): symbols[s] for s in free}
    return Condition(
        text, place, tuple(sorted({d for dim, _ in told.values() for d in parts(dim)})), proved, code, told
    )


def _named(size: str, interface: Interface) -> Any:
    """A size as sympy has it: a name of dims, or their sum."""
    import sympy

    dims = {name: interface.dims[name] for name in parts(size)}
    return sum(sympy.Symbol(n, integer=True, positive=d.min > 0 or None, nonnegative=True) for n, d in dims.items())


def _written(expression: Any) -> str:
    """As Python where torch's printer can: "h <= w"."""
    from torch.utils._sympy.printers import PythonPrinter

    with contextlib.suppress(Exception):
        return str(PythonPrinter().doprint(expression))
    return str(expression)


def _environment(program: Any) -> Any:
    """torch's record of symbols and conditions, out of the program's own sizes; None where it has no symbol."""
    import torch

    values = (n.meta.get("val") for n in program.graph.nodes if n.op == "placeholder")
    sizes = (size for value in values for size in getattr(value, "shape", ()))
    return next((size.node.shape_env for size in sizes if isinstance(size, torch.SymInt)), None)


def _axes(program: Any, interface: Interface) -> Iterator[tuple[Any, str]]:
    """Of each dynamic axis of an input the size that a program has for it, and the dimension."""
    shapes = {n.name: n.meta["val"].shape for n in program.graph.nodes if n.op == "placeholder"}
    for name, spec in zip(program.graph_signature.user_inputs, interface.inputs.values(), strict=True):
        for axis, dim in spec.axes.items():
            yield shapes[name][axis], dim


def _factors(expression: Any) -> list[tuple[Any, int]]:
    """(s, k) of k*s; nothing for what is no whole multiple of one symbol."""
    found = [(s, expression / s) for s in expression.free_symbols]
    return [(s, int(k)) for s, k in found if k.is_Integer]


def _place(location: Any) -> str:
    """The model's line of a location of torch's; torch's own, where it met no code of the model's."""
    if told := getattr(location, "maybe_user_loc", None):
        return str(told)
    frame: Any = getattr(location, "framework_loc", None)
    return str(unsupported.Frame(frame.filename, frame.lineno, frame.name)) if hasattr(frame, "filename") else ""
