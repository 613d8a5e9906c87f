"""Translations of operators to ONNX that torch's exporters lack: ours, and those that a YAML names by dotted path."""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipeline.errors import ConfigError, Problem, listed, nearest
from pipeline.stage import Setting, World

OPERATOR = re.compile(r"([A-Za-z]\w*)::(\w+)(?:\.(\w+))?")
PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
# On a command line Hydra takes an unescaped colon for the end of the key.
EXAMPLE = r"'+stages.export.translations={my_ns\:\:my_op: my_pkg.onnx_ops.my_op}'"
IN_A_MODULE = "the dotted path of a function in a module, from an installed package or the current folder"
# The first opset for which torch has the symbolics that we replace.
OURS_SINCE = 13


class Translations(Setting):
    """Operator to the dotted path of the function that translates it. The function's code is part of the key.

    Args:
        overloads: Whether the exporter distinguishes the overloads of an operator.
    """

    def __init__(self, *, overloads: bool) -> None:
        self._overloads = overloads

    def problems(self, name: str, value: Mapping[str, str]) -> Iterable[Problem]:
        for operator, path in value.items():
            match = OPERATOR.fullmatch(operator)
            if match is None:
                allowed = "my_ns::my_op" + (" or my_ns::my_op.overload" if self._overloads else "")
                yield Problem(f"{name}: '{operator}' is no operator's name", allowed, EXAMPLE)
            elif match[3] and not self._overloads:
                wrong = "names an overload, which the TorchScript exporter does not tell apart"
                yield Problem(f"{name}: {operator} {wrong}", allowed=operator.rpartition(".")[0])
            if not PATH.fullmatch(path):
                wrong = f"{name}: {operator}: '{path}' is no dotted path of a function"
                yield Problem(wrong, "my_pkg.onnx_ops.my_op", EXAMPLE)

    def settle(self, name: str, value: Mapping[str, str], world: World) -> Mapping[str, str]:
        """Looks for the module of each without importing it."""
        for operator, path in value.items():
            world.code(path)  # raises when there is no such top-level module
            if missing := _not_found(path.rpartition(".")[0]):
                wrong = f"{name}: {operator}: {path}: there is no module '{missing}'"
                raise ConfigError(wrong, allowed=IN_A_MODULE, command=EXAMPLE)
        return value

    def identity(self, name: str, value: Mapping[str, str], world: World) -> Any:
        return {operator: {"function": path, "code": dict(world.code(path))} for operator, path in value.items()}


def for_dynamo(translations: Mapping[str, str]) -> dict[Any, Any]:
    """The table for torch.onnx.export(custom_translation_table=…). Raises ConfigError."""
    functions = {operator: _function(operator, path) for operator, path in translations.items()}  # may register them
    for operator, function in functions.items():
        # Without the annotation the exporter assumes that it returns nothing, and fails much later.
        if _is_onnxscript(function) and "return" not in function.function.__annotations__:
            raise ConfigError(
                f"translations: {operator}: {translations[operator]} does not annotate what it returns",
                allowed="an onnxscript function with the types of its arguments and its result annotated",
                command="-> onnxscript.FLOAT[...] in its definition",
            )
    return {_overload(operator): function for operator, function in functions.items()}


@contextlib.contextmanager
def for_torchscript(translations: Mapping[str, str], opset: int) -> Iterator[None]:
    """Registers symbolic functions for one export: the YAML's, and ours where the YAML names none.

    Why ours: torch's own for unflatten and tensor_split lose the rank of their results when the module is traced
    already (one that the exporter traces itself has every shape), and then the transpose after them fails, as in
    nn.MultiheadAttention. torch has none for diff, and its cumsum keeps booleans, which ONNX does not add up.

    Raises:
        ConfigError: When an operator or a function cannot be found.
    """
    import torch

    functions: dict[str, Any] = dict(OURS) if opset >= OURS_SINCE else {}
    for operator, path in translations.items():
        functions[operator] = _function(operator, path)
        _packet(operator)
        if _is_onnxscript(functions[operator]):
            raise ConfigError(
                f"translations: {operator}: {path} is an onnxscript function, for the dynamo exporter",
                allowed="a symbolic function(g, *arguments) that returns g.op(…)",
                command="capture=export, or the path of a symbolic function",
            )
    with contextlib.ExitStack() as registered:
        for operator, function in functions.items():
            torch.onnx.register_custom_op_symbolic(operator, function, opset)  # type: ignore[attr-defined]
            registered.callback(_unregister, operator, opset)
        yield


def _unregister(operator: str, opset: int) -> None:
    import torch

    torch.onnx.unregister_custom_op_symbolic(operator, opset)  # type: ignore[attr-defined]
    with contextlib.suppress(ImportError, AttributeError):
        from torch.onnx._internal.torchscript_exporter.registration import registry

        # For an operator unknown to torch an empty group stays behind, and torch's next report fails over it.
        group = registry.get_function_group(operator)
        if group is not None and not group._functions:
            del registry._registry[operator]


def _not_found(module: str) -> str:
    """The shortest leading part of a dotted path without a module file, or ''. No parent is imported."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    for name in rest:
        top = f"{top}.{name}"
        places = spec.submodule_search_locations if spec else None
        spec = importlib.machinery.PathFinder.find_spec(top, list(places)) if places else None
        if spec is None:
            return top
    return ""


def _is_onnxscript(function: Any) -> bool:
    onnxscript = sys.modules.get("onnxscript")  # a function of its kind has imported it
    return onnxscript is not None and isinstance(function, onnxscript.OnnxFunction)


def _function(operator: str, path: str) -> Any:
    module, _, name = path.rpartition(".")
    try:
        home = importlib.import_module(module)
    except Exception as e:  # a module may raise anything while it is imported
        raise ConfigError(f"translations: {operator}: {module} cannot be imported: {type(e).__name__}: {e}") from e
    function = getattr(home, name, None)
    if not callable(function):
        raise ConfigError(
            f"translations: {operator}: {module} has no '{name}' to call{nearest(name, vars(home))}", command=EXAMPLE
        )
    return function


def _packet(operator: str) -> Any:
    """torch.ops.my_ns.my_op. Raises ConfigError."""
    import torch

    namespace, _, name = operator.partition(".")[0].partition("::")
    try:
        return getattr(getattr(torch.ops, namespace), name)
    except AttributeError as e:
        operators = {o.partition(".")[0] for o in torch._C._dispatch_get_all_op_names()}
        there = sorted(o for o in operators if o.startswith(f"{namespace}::"))
        raise ConfigError(
            f"translations: torch has no operator {operator.partition('.')[0]}{nearest(operator, operators)}",
            allowed=listed(there) if there else f"an operator that is registered; none is in '{namespace}'",
            command="the module that registers it is imported by the module of the model's factory or of the function",
        ) from e


def _overload(operator: str) -> Any:
    """torch.ops.my_ns.my_op.overload; without a name the default one. Raises ConfigError for one without tensors."""
    packet = _packet(operator)
    base, _, name = operator.partition(".")
    overloads = {o: getattr(packet, o) for o in packet.overloads()}
    tensors = [
        o for o, overload in overloads.items() if any("Tensor" in str(a.type) for a in overload._schema.arguments)
    ]
    if (name or "default") not in (overloads if name else tensors):
        raise ConfigError(
            f"translations: {operator}: {base} has no overload '{name or 'default'}' for tensors",
            allowed=listed(f"{base}.{o}" for o in tensors),
        )
    return overloads[name or "default"]


def _unflatten(g: Any, source: Any, dim: Any, sizes: Any) -> Any:
    import torch
    from torch.onnx import symbolic_helper as helper

    def constant(*values: int) -> Any:
        return g.op("Constant", value_t=torch.tensor(values, dtype=torch.int64))

    rank = int(helper._get_tensor_rank(source) or 0)
    axis = helper._maybe_get_const(dim, "i") % rank
    shape = g.op("Shape", source)
    before = g.op("Slice", shape, constant(0), constant(axis))
    after = g.op("Slice", shape, constant(axis + 1), constant(rank))
    result = g.op("Reshape", source, g.op("Concat", before, sizes, after, axis_i=0))
    parts = helper._unpack_list(sizes) if helper._is_packed_list(sizes) else helper._maybe_get_const(sizes, "is")
    result.setType(source.type().with_sizes([None] * (rank - 1 + len(parts))))
    return result


def _tensor_split(g: Any, source: Any, where: Any, dim: Any, _outputs: int | None = None) -> Any:
    import torch
    from torch.onnx import symbolic_helper as helper
    from torch.onnx._internal.torchscript_exporter import symbolic_opset13

    rank, places = helper._get_tensor_rank(source), helper._maybe_get_const(where, "is")
    if rank is None or not isinstance(places, (list, tuple)):  # a number of parts, or computed places
        return symbolic_opset13.tensor_split(g, source, where, dim, _outputs)

    def constant(value: int) -> Any:
        return g.op("Constant", value_t=torch.tensor([value], dtype=torch.int64))

    axis = constant(int(helper._maybe_get_const(dim, "i")) % rank)
    bounds = zip([0, *places], [*places, torch.iinfo(torch.int64).max], strict=True)
    parts = [g.op("Slice", source, constant(start), constant(end), axis) for start, end in bounds]
    for part in parts:
        part.setType(source.type().with_sizes([None] * rank))
    return g.op("prim::ListConstruct", *parts)  # whose elements the exporter unpacks as they are


def _diff(g: Any, source: Any, n: Any, dim: Any, prepend: Any, append: Any) -> Any:
    import torch
    from torch.onnx import symbolic_helper as helper

    rank, times = helper._get_tensor_rank(source), helper._maybe_get_const(n, "i")
    if rank is None or not isinstance(times, int):
        return helper._onnx_unsupported("diff of unknown rank or order", source)

    def constant(value: int) -> Any:
        return g.op("Constant", value_t=torch.tensor([value], dtype=torch.int64))

    place = int(helper._maybe_get_const(dim, "i")) % rank
    axis = constant(place)
    whole = [part for part in (prepend, source, append) if not helper._is_none(part)]
    if len(whole) > 1:
        source = g.op("Concat", *whole, axis_i=place)
    for _ in range(times):
        later = g.op("Slice", source, constant(1), constant(torch.iinfo(torch.int64).max), axis)
        source = g.op("Sub", later, g.op("Slice", source, constant(0), constant(-1), axis))
    return source


def _cumsum(g: Any, source: Any, dim: Any, dtype: Any) -> Any:
    import torch
    from torch.onnx import symbolic_helper as helper
    from torch.onnx._internal.torchscript_exporter import symbolic_opset11

    if source.type().scalarType() == "Bool" and helper._is_none(dtype):
        source = g.op("Cast", source, to_i=torch._C._onnx.TensorProtoDataType.INT64)
    return symbolic_opset11.cumsum(g, source, dim, dtype)


OURS = {
    "aten::unflatten": _unflatten,
    "aten::tensor_split": _tensor_split,
    "aten::diff": _diff,
    "aten::cumsum": _cumsum,
}
