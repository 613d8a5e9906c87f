"""Which texts the JSON of a torch.export program may have: its reader evaluates parts of it as Python.

sympy evaluates sizes, guards and the names of nodes become code, an operator is any path that torch finds, and
structures of inputs may name modules to import. This module recognises the plain forms of each.
"""

from __future__ import annotations

import ast
import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

PLAIN = re.compile(r"[\w.:+\-/ <>\[\]]*")
NAME = re.compile(r"([A-Za-z_]\w*)?")
# A size that has a range, such as s77 or 32*s77: only compared with the sizes of the graph, never evaluated.
RANGED = re.compile(r"[\w*+\-/ ().,]+")
UNQUOTED = re.compile(r"[^'\"\\\n\r]*")
# torch follows any path from `torch`, `math` and `operator`, through their imports even to os.system.
OPERATOR = re.compile(
    r"torch\.ops\.(?!load_library\b|import_module\b)[a-zA-Z]\w*(\.(?!__)\w+|\.__i?(and|or|xor|lshift|rshift)__)(\.(?!__)\w+)?"
    r"|torch\._?sym_\w+|torch\._functorch\.predispatch\.\w+|math\.[a-z]\w*"
    r"|_operator\.(getitem|add|sub|mul|mod|pow|floordiv|truediv|neg|pos|eq|ne|lt|le|gt|ge|and_|or_|not_|xor|abs)"
)
# Descriptions of a node, which are never evaluated.
DESCRIPTIVE = ("stack_trace", "nn_module_stack", "torch_fn", "source_fn_stack", "from_node", "custom")
TEXTS = ("as_string", "as_strings")
NUMBERS = re.compile(r"true|false|oo|int_oo|nan|[a-z]+\d+")
COMPARISONS = ("max", "min")


def problems(value: Any, key: str = "", place: str = "") -> Iterator[str]:
    """Every text in a program's JSON that is not of a plain form, with its place.

    Args:
        value: The parsed JSON, or a part of it.
        key: The key of this part.
        place: The keys that lead to this part.
    """
    if isinstance(value, Mapping):
        for name, item in value.items():
            if not (RANGED if key == "range_constraints" else PLAIN).fullmatch(name):
                yield f"the key {name[:80]!r} in {place[1:]}"
            # The argument of a call is written down as a text; one that a graph takes becomes part of a condition.
            yield from problems(item, "argument" if key == "arg" and name in TEXTS else name, f"{place}.{name}")
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from problems(item, key, f"{place}.{i}")
    elif isinstance(value, str) and not PLAIN_FORMS.get(key, PLAIN.fullmatch)(value):
        yield f"{value[:80]!r} as its {place[1:]}"


def _is_structure(text: str) -> bool:
    """Whether a structure of inputs or outputs has only containers and plain keys: others may name modules."""
    try:
        return _is_container(json.loads(text)[1])
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RecursionError):
        return False


def _is_container(spec: Mapping[str, Any]) -> bool:
    context = spec["context"]
    if context is not None and not PLAIN.fullmatch(context):
        keys = json.loads(context)
        if not isinstance(keys, list) or not all(isinstance(k, int) or PLAIN.fullmatch(k) for k in keys):
            return False
    return PLAIN.fullmatch(spec["type"] or "") is not None and all(map(_is_container, spec["children_spec"]))


def _is_size(text: str) -> bool:
    """Whether an expression, as written by sympy's srepr, has only functions, numbers and symbols."""
    return _is_arithmetic(text, _is_symbol)


def _is_guard(text: str) -> bool:
    """Whether a condition is one of sizes, such as L['x'].size()[0] <= 8."""
    return _is_arithmetic(text, _is_input)


def _is_arithmetic(text: str, is_leaf: Callable[[ast.AST], bool]) -> bool:
    try:
        return _is_term(ast.parse(text, mode="eval").body, is_leaf)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _is_term(node: ast.AST, is_leaf: Callable[[ast.AST], bool]) -> bool:
    if is_leaf(node):
        return True
    match node:
        case ast.Constant():
            return not isinstance(node.value, (str, bytes))
        case ast.Name():
            return NUMBERS.fullmatch(node.id) is not None
        case ast.Call(func=ast.Name(id=name)) if not (name in COMPARISONS or _is_function(name)):
            return False
        case ast.Call(func=ast.Name()):
            terms = [*node.args, *(k.value for k in node.keywords)]
        case ast.BinOp() | ast.UnaryOp() | ast.BoolOp() | ast.Compare():
            terms = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
        case _:
            return False
    return all(_is_term(term, is_leaf) for term in terms)


def _is_symbol(node: ast.AST) -> bool:
    """Symbol('s77', positive=True, integer=True), or Float('0.5', precision=53)."""
    match node:
        case ast.Call(func=ast.Name(id="Symbol" | "Float")):
            values = [*node.args, *(k.value for k in node.keywords)]
            return all(isinstance(v, ast.Constant) and re.fullmatch(r"[\w.+-]+", str(v.value)) for v in values)
    return False


@functools.cache
def _is_function(name: str) -> bool:
    """Whether sympy, or torch's addition to it, has a class of expressions with this name."""
    import sympy
    from torch.utils._sympy import functions

    kind = getattr(functions, name, None) or getattr(sympy, name, None)
    return isinstance(kind, type) and issubclass(kind, sympy.Basic)


def _is_input(node: ast.AST) -> bool:
    """L['x'].size()[0]: a size of an input, by plain keys."""
    match node:
        case ast.Name(id="L"):
            return True
        case ast.Subscript(value=inner, slice=ast.Constant(value=key)):
            return PLAIN.fullmatch(str(key)) is not None and _is_input(inner)
        case ast.Call(func=ast.Attribute(value=inner, attr="size" | "stride" | "storage_offset"), args=[], keywords=[]):
            return _is_input(inner)
    return False


def _anything(text: str) -> bool:
    return True


# By the key of a text, whether it is plain; PLAIN decides for all other keys.
PLAIN_FORMS: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys((*DESCRIPTIVE, "argument"), _anything),
    **dict.fromkeys(("name", "as_name", "forward_arg_names"), NAME.fullmatch),
    **dict.fromkeys(("in_spec", "out_spec"), _is_structure),
    **dict.fromkeys(TEXTS, UNQUOTED.fullmatch),
    **dict.fromkeys(("target", "as_operator"), OPERATOR.fullmatch),
    "expr_str": _is_size,
    "guards_code": _is_guard,
}
