"""Complex numbers, as pairs of real tensors: MIL has none. coremltools' own pairs need known sizes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from coremltools.converters.mil.frontend.torch import ops
from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY as REGISTRY
from coremltools.converters.mil.mil import Builder as mb  # noqa: N813
from coremltools.converters.mil.mil import types

from stages.coreml.translations import OF_PARTS, activating, broadcasting, dividing
from stages.coreml.translations.nodes import argument, value

Translation = Callable[[Any, Any], None]
_THEIRS: Mapping[str, Translation] = dict(REGISTRY.name_to_func_mapping)  # before ours are registered


@dataclass(frozen=True)
class Complex:
    """A complex tensor: its real and its imaginary part, variables of one shape."""

    real: Any
    imag: Any

    def __getattr__(self, name: str) -> Any:
        # A translation that knows only real tensors asks for the shape, the type or the value.
        raise ValueError("this operator has no translation for complex numbers")


def is_complex(v: Any) -> bool:
    """Whether a variable is a pair, or a constant of complex numbers."""
    return isinstance(v, Complex) or np.iscomplexobj(getattr(v, "val", 0.0))


def parts(v: Any) -> tuple[Any, Any]:
    """The real and the imaginary part; None for the second of a real variable."""
    if isinstance(v, Complex):
        return v.real, v.imag
    if is_complex(v):
        numbers = np.asarray(v.val)
        return mb.const(val=numbers.real.astype("f4")), mb.const(val=numbers.imag.astype("f4"))
    return v, None


def of_parts(translation: Translation) -> Translation:
    """A translation of real tensors, for complex ones too: both parts are rearranged in the same way."""

    def translated(context: Any, node: Any) -> None:
        names = [n for n in _names(node.inputs) if n in context]
        if not any(is_complex(v) for n in names for v in _each(context[n])):
            translation(context, node)
            return
        real, imag = (_of_one(translation, context, node, names, part) for part in (0, 1))
        context.add(Complex(real, imag), torch_name=node.name)

    return translated


def _of_one(translation: Translation, context: Any, node: Any, names: list[str], part: int) -> Any:
    other = copy.copy(node)
    other.name = f"{node.name}_{('real', 'imag')[part]}"
    other.outputs = [other.name]
    renamed = {}
    for name in names:
        if any(is_complex(v) for v in _each(context[name])):
            renamed[name] = f"{name}_{other.name}"
            bound = context[name]
            of_each = [_part(v, part) for v in _each(bound)]
            context.add(of_each if isinstance(bound, list | tuple) else of_each[0], torch_name=renamed[name])
    other.inputs = _renamed(node.inputs, renamed)
    translation(context, other)
    return context[other.name]


def _part(v: Any, part: int) -> Any:
    real, imag = parts(v)
    if part == 0:
        return real
    return mb.mul(x=real, y=0.0) if imag is None else imag


def _names(inputs: Any) -> list[str]:
    return [n for i in inputs for n in (_names(i) if isinstance(i, list | tuple) else [i]) if isinstance(n, str)]


def _renamed(inputs: Any, names: Mapping[str, str]) -> Any:
    return [_renamed(i, names) if isinstance(i, list | tuple) else names.get(i, i) for i in inputs]


def _each(bound: Any) -> Any:
    return bound if isinstance(bound, list | tuple) else [bound]


def _of_real(name: str) -> Translation:
    """A question about a tensor, such as its size: that of the real part is the answer."""
    translation = _THEIRS[name]

    def translated(context: Any, node: Any) -> None:
        if not is_complex(argument(context, node, 0, "self")):
            translation(context, node)
            return
        other = copy.copy(node)
        context.add(parts(argument(context, node, 0, "self"))[0], torch_name=f"{node.name}_of")
        other.inputs = [f"{node.name}_of", *node.inputs[1:]]
        translation(context, other)

    return translated


def _arithmetic(of_real: Translation, combine: Callable[[tuple[Any, Any], tuple[Any, Any]], Complex]) -> Translation:
    def translated(context: Any, node: Any) -> None:
        x, y = argument(context, node, 0, "self"), argument(context, node, 1, "other")
        if not (is_complex(x) or is_complex(y)):
            of_real(context, node)
            return
        if value(argument(context, node, 2, "alpha")) not in (None, 1):
            raise ValueError("a factor beside complex numbers has no translation")
        context.add(combine(_floating(x), _floating(y)), torch_name=node.name)

    return translated


def _floating(v: Any) -> tuple[Any, Any]:
    """The parts, in floating-point numbers where a real one is an integer."""
    real, imag = parts(v)
    if imag is None and not types.is_float(real.dtype):
        real = mb.cast(x=real, dtype="fp32")
    return real, imag


def product(x: tuple[Any, Any], y: tuple[Any, Any]) -> Complex:
    """The product of two numbers, each with its parts, or None for an imaginary part that is 0."""
    (a, b), (c, d) = x, y
    if d is None:
        return Complex(mb.mul(x=a, y=c), mb.mul(x=b, y=c))
    if b is None:
        return Complex(mb.mul(x=a, y=c), mb.mul(x=a, y=d))
    real = mb.sub(x=mb.mul(x=a, y=c), y=mb.mul(x=b, y=d))
    return Complex(real, mb.add(x=mb.mul(x=a, y=d), y=mb.mul(x=b, y=c)))


def _quotient(x: tuple[Any, Any], y: tuple[Any, Any]) -> Complex:
    c, d = y
    if d is None:
        return Complex(*(mb.real_div(x=part, y=c) for part in x))
    of_both = product(x, (c, mb.mul(x=d, y=-1.0)))
    squared = mb.add(x=mb.mul(x=c, y=c), y=mb.mul(x=d, y=d))
    return Complex(mb.real_div(x=of_both.real, y=squared), mb.real_div(x=of_both.imag, y=squared))


def _sum(sign: float) -> Callable[[tuple[Any, Any], tuple[Any, Any]], Complex]:
    combined = mb.add if sign > 0 else mb.sub

    def added(x: tuple[Any, Any], y: tuple[Any, Any]) -> Complex:
        (a, b), (c, d) = x, y
        real = combined(x=a, y=c)
        # Of one shape with the real part, though only one of both has an imaginary one.
        b = mb.mul(x=a, y=0.0) if b is None else b
        return Complex(real, combined(x=b, y=mb.mul(x=c, y=0.0) if d is None else d))

    return added


def _alone(of_complex: Callable[[Any, Any], Any], of_real: Translation = ops.noop) -> Translation:
    """A translation of one argument."""

    def translated(context: Any, node: Any) -> None:
        x = argument(context, node, 0, "self")
        if is_complex(x):
            context.add(of_complex(*parts(x)), torch_name=node.name)
        else:
            of_real(context, node)

    return translated


def _absolute(a: Any, b: Any) -> Any:
    return mb.sqrt(x=mb.add(x=mb.mul(x=a, y=a), y=mb.mul(x=b, y=b)))


def _exponential(a: Any, b: Any) -> Complex:
    size = mb.exp(x=a)
    return Complex(mb.mul(x=size, y=mb.cos(x=b)), mb.mul(x=size, y=mb.sin(x=b)))


def from_parts(context: Any, node: Any) -> None:
    """torch.complex, of two real tensors."""
    real, imag = argument(context, node, 0, "real"), argument(context, node, 1, "imag")
    context.add(Complex(real, imag), torch_name=node.name)


def polar(context: Any, node: Any) -> None:
    """torch.polar, of an absolute value and an angle."""
    size, angle = argument(context, node, 0, "abs"), argument(context, node, 1, "angle")
    context.add(Complex(mb.mul(x=size, y=mb.cos(x=angle)), mb.mul(x=size, y=mb.sin(x=angle))), torch_name=node.name)


def view_as_complex(context: Any, node: Any) -> None:
    """torch.view_as_complex of a real tensor whose last axis has both parts."""
    x = argument(context, node, 0, "self")
    both = (mb.squeeze(x=v, axes=[-1]) for v in mb.split(x=x, num_splits=2, axis=-1))
    context.add(Complex(*both), torch_name=node.name)


def view_as_real(context: Any, node: Any) -> None:
    """torch.view_as_real: both parts along a new last axis."""
    real, imag = parts(argument(context, node, 0, "self"))
    context.add(mb.stack(values=[real, imag], axis=-1, name=node.name))


NAMES: Mapping[str, Translation] = {
    **{name: of_parts(broadcasting.NAMES.get(name, _THEIRS[name])) for name in OF_PARTS},
    **{name: _of_real(name) for name in ("size", "sym_size", "dim", "numel")},
    "abs": _alone(_absolute, _THEIRS["abs"]),
    "add": _arithmetic(_THEIRS["add"], _sum(1)),
    "complex": from_parts,
    **dict.fromkeys(
        ("conj", "_conj", "conj_physical", "_conj_physical"), _alone(lambda a, b: Complex(a, mb.mul(x=b, y=-1.0)))
    ),
    "div": _arithmetic(dividing.div, _quotient),
    "exp": _alone(_exponential, activating.NAMES["exp"]),
    "imag": _alone(lambda _, b: mb.identity(x=b)),
    "mul": _arithmetic(_THEIRS["mul"], product),
    "polar": polar,
    "real": _alone(lambda a, _: mb.identity(x=a)),
    **dict.fromkeys(("resolve_conj", "resolve_neg"), ops.noop),
    "sub": _arithmetic(_THEIRS["sub"], _sum(-1)),
    "view_as_complex": view_as_complex,
    "view_as_real": view_as_real,
}
