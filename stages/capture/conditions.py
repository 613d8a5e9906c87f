"""What torch.export assumed about sizes: the conditions of a captured program, in the YAML's own names.

torch.export takes one side of each branch on sizes and leaves the condition in the program as a guard. Exporters
silently drop guards, so before a program is exported, its conditions must hold at every size of `dims`.
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

# Up to so many combinations of sizes a condition is tried at each of them, which takes about a second. Beyond that, at
# the ends of each dimension and at sizes spread over its range.
EXHAUSTIVE = 250_000


@dataclass(frozen=True)
class Condition:
    """A relation between sizes that a program was captured under.

    Args:
        text: The condition with the YAML's names of dimensions: "h <= w".
        place: The model's line, or torch's where none is known: "net.py:8 in forward: if h > w:".
        dims: The dimensions in it; None where it depends on something else.
        proved: Whether the ranges of the dimensions alone prove it.
        code: The condition as Python with the symbols' names; empty where that cannot be written.
        symbols: The symbols' names, each with its dimension, or a sum of dimensions, and a divisor of that.
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
        """The sizes at which it does not hold, and whether every combination was tried.

        Sizes have only the dimensions in this condition.
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
        sizes_broken = []
        for sizes in itertools.product(*choices):
            try:  # what torch's printer writes is builtin, or of one of these
                values = {s: sum(sizes[place] for place in at) // by for s, at, by in symbols}
                holds = eval(code, {"math": math, "torch": torch}, values)
            except Exception:  # a function that is not defined there, such as a logarithm of nothing
                holds, every = True, False
            if not holds:
                sizes_broken.append(dict(zip(self.dims, sizes, strict=True)))
        return sizes_broken, every


def _some(dim: Dim, total: int, dims: int) -> list[int]:
    """Sizes of one dimension, its ends and some evenly between, so that there are at most `total` combinations."""
    count = max(int(total ** (1 / dims)), 4)
    if len(dim.sizes) <= count:
        return list(dim.sizes)
    step = (len(dim.sizes) - 1) / (count - 1)
    return sorted({dim.sizes[round(i * step)] for i in range(count)})


@contextlib.contextmanager
def telling_places() -> Iterator[None]:
    """Makes torch record the model's line with each condition: by itself it records the innermost, often its own."""
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    get_location = ShapeEnv._get_sloc

    def with_place(self: Any, *args: Any, **kwargs: Any) -> Any:
        return replace(
            get_location(self, *args, **kwargs), maybe_user_loc=unsupported.place_at(sys._getframe(1)) or None
        )

    with mock.patch.object(ShapeEnv, "_get_sloc", with_place):
        yield


def fixed(program: Any, interface: Interface) -> dict[str, tuple[int, str]]:
    """The dynamic dimensions that a program fixes: the number, and the model's line where it is known."""
    environment = _environment(program)
    by_dim = {}
    for size, dim in _axes(program, interface):
        if isinstance(size, int):
            by_dim[dim] = (size, "")
        elif size.node.expr.is_Integer:
            place = environment.replacements_slocs.get(size.node._expr)
            by_dim[dim] = (int(size.node.expr), _place(place) if place is not None else "")
    return by_dim


def under(program: Any, interface: Interface) -> list[Condition]:
    """The conditions of a program that torch.export has just captured; none for one that was read from a file.

    Each is returned once, in the order of the model's run.
    """
    import sympy

    environment = _environment(program)
    if environment is None:
        return []
    symbols: dict[Any, tuple[str, int]] = {}
    expressions = [(guard.expr, guard.sloc) for guard in environment.guards]
    for size, dim in _axes(program, interface):
        if isinstance(size, int):
            continue
        # The dimension's first symbol, and what torch inferred for it, such as a multiple of another symbol.
        began, became = size.node._expr, size.node.expr
        symbols[began] = (dim, 1)
        symbols |= {s: (dim, by) for s, by in _factors(became) if s not in symbols}
        if began != became:
            expressions.append((sympy.Eq(began, became), environment.replacements_slocs.get(began)))
    by_expression: dict[Any, Condition] = {}
    # Conditions that torch asserts at run time instead of refusing; only those on sizes, as for guards.
    asserted = (a.expr for several in environment.deferred_runtime_asserts.values() for a in several)
    expressions += [(expression, None) for expression in asserted if expression.free_symbols <= symbols.keys()]
    for expression, place in expressions:
        if expression not in (sympy.true, sympy.false) and expression not in by_expression:
            by_expression[expression] = _condition(expression, _place(place), symbols, interface)
    return list(by_expression.values())


def _condition(expression: Any, place: str, symbols: Mapping[Any, tuple[str, int]], interface: Interface) -> Condition:
    import sympy
    from torch.utils._sympy.printers import PythonPrinter
    from torch.utils._sympy.value_ranges import ValueRanges, bound_sympy

    free = sorted(expression.free_symbols, key=str)
    as_dims = {s: _as_sympy(symbols[s][0], interface) for s in free if s in symbols}
    of_dims = expression.xreplace({s: as_dims[s] / symbols[s][1] for s in as_dims})
    text = _written(of_dims)
    if len(as_dims) < len(free):
        return Condition(text, place, None)
    if of_dims == sympy.true:  # as past+sequence of one input and the sum of two others'
        return Condition(text, place, (), proved=True)
    ranges = {}
    for symbol in free:
        dim, by = range_of(symbols[symbol][0], interface.dims), symbols[symbol][1]
        ranges[symbol] = ValueRanges(dim.min // by, dim.max // by)
    proved, code = False, ""
    with contextlib.suppress(Exception):  # torch's tables know most functions, and fail for others
        proved = bound_sympy(expression, ranges) == ValueRanges(sympy.true, sympy.true)
        code = PythonPrinter().doprint(expression)
    by_symbol = {str(s): symbols[s] for s in free}
    return Condition(
        text, place, tuple(sorted({d for dim, _ in by_symbol.values() for d in parts(dim)})), proved, code, by_symbol
    )


def _as_sympy(size: str, interface: Interface) -> Any:
    """A size as sympy has it: a name of dims, or their sum."""
    import sympy

    dims = {name: interface.dims[name] for name in parts(size)}
    return sum(sympy.Symbol(n, integer=True, positive=d.min > 0 or None, nonnegative=True) for n, d in dims.items())


def _written(expression: Any) -> str:
    """The expression as Python, if torch's printer can write it: "h <= w"."""
    from torch.utils._sympy.printers import PythonPrinter

    with contextlib.suppress(Exception):
        return str(PythonPrinter().doprint(expression))
    return str(expression)


def _environment(program: Any) -> Any:
    """torch's record of symbols and conditions, from the program's own sizes; None where it has no symbol."""
    import torch

    values = (n.meta.get("val") for n in program.graph.nodes if n.op == "placeholder")
    sizes = (size for value in values for size in getattr(value, "shape", ()))
    return next((size.node.shape_env for size in sizes if isinstance(size, torch.SymInt)), None)


def _axes(program: Any, interface: Interface) -> Iterator[tuple[Any, str]]:
    """For each dynamic axis of an input, its size in the program, and the dimension."""
    shapes = {n.name: n.meta["val"].shape for n in program.graph.nodes if n.op == "placeholder"}
    for name, spec in zip(program.graph_signature.user_inputs, interface.inputs.values(), strict=True):
        for axis, dim in spec.axes.items():
            yield shapes[name][axis], dim


def _factors(expression: Any) -> list[tuple[Any, int]]:
    """(s, k) for k*s; empty for what is not an integer multiple of one symbol."""
    quotients = [(s, expression / s) for s in expression.free_symbols]
    return [(s, int(k)) for s, k in quotients if k.is_Integer]


def _place(location: Any) -> str:
    """The model's line of a location that torch recorded; torch's own line if there was no code of the model."""
    if line := getattr(location, "maybe_user_loc", None):
        return str(line)
    frame: Any = getattr(location, "framework_loc", None)
    return str(unsupported.Frame(frame.filename, frame.lineno, frame.name)) if hasattr(frame, "filename") else ""
