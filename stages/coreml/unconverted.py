"""Reports the operators of a program that coremltools cannot translate: all at once, with the model's lines."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import Any

from pipeline.errors import StageError, listed
from stages.capture import unsupported
from stages.capture.unsupported import Missing

TRANSLATING = "convert_single_node"  # coremltools' function that translates one node


def refuse(program: Any) -> None:
    """Raises StageError for a program with an operator that coremltools has no translation for.

    Args:
        program: A ScriptModule, or an ExportedProgram.
    """
    places: dict[str, list[str]] = {}
    for missing in lacking(program):
        places.setdefault(missing.operator, []).append(missing.place)
    if not places:
        return
    lines = [f"coremltools has no translation of {listed(places)}"]
    for operator, locations in places.items():
        calls = f", {len(locations)} calls" if len(locations) > 1 else ""
        lines.append(f"    {operator}{calls}: {listed(dict.fromkeys(filter(None, locations)), 3) or 'line not known'}")
    other = "capture=trace" if hasattr(program, "graph_module") else "capture=export"
    raise StageError(
        "\n".join(lines),
        allowed="operators that coremltools translates",
        command=f"{other}, which may have other operators; or other operators in the model",
    )


def lacking(program: Any) -> Iterator[Missing]:
    """The calls of operators that coremltools' registry lacks, looked up as its two front ends do."""
    import torch
    from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY as REGISTRY
    from coremltools.converters.mil.frontend.torch.utils import sanitize_op_kind

    if hasattr(program, "graph_module"):
        for node in unsupported.calls(program):
            kind = _kind(node.target)
            if sanitize_op_kind(kind) not in REGISTRY.name_to_func_mapping:
                yield Missing(kind, unsupported.place_of(node))
        return
    graph = program.inlined_graph  # a copy
    torch._C._jit_pass_dce(graph)
    torch._C._jit_pass_canonicalize_graph_fuser_ops(graph)
    for node in unsupported.nodes(graph):
        kind = node.kind()
        # Structure such as prim::GetAttr is lowered before coremltools looks for translations.
        if not kind.startswith("prim::") and REGISTRY.get_func(sanitize_op_kind(kind)) is None:
            yield Missing(kind, unsupported.place(node.sourceRange()))


def untranslated(program: Any) -> set[str]:
    """The overloads in an ExportedProgram that the registry lacks, such as aten.logcumsumexp.default."""
    from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY as REGISTRY
    from coremltools.converters.mil.frontend.torch.utils import sanitize_op_kind

    registry = REGISTRY.name_to_func_mapping
    return {str(n.target) for n in unsupported.calls(program) if sanitize_op_kind(_kind(n.target)) not in registry}


def failed(program: Any, error: BaseException) -> str:
    """The operator at which coremltools failed, with the model's lines: "sort, at net.py:8 …"; or ""."""
    from coremltools.converters.mil.frontend.torch.utils import sanitize_op_kind

    at = [f.f_locals["node"] for f, _ in traceback.walk_tb(error.__traceback__) if f.f_code.co_name == TRANSLATING]
    if not at:
        return ""
    if hasattr(program, "graph_module"):
        places = [unsupported.place_of(node) for node in unsupported.calls(program) if node.name == at[-1].name]
    else:
        alike = (n for n in unsupported.nodes(program.inlined_graph) if sanitize_op_kind(n.kind()) == at[-1].kind)
        places = [unsupported.place(node.sourceRange()) for node in alike]
    return f"{at[-1].kind}, at {listed(dict.fromkeys(filter(None, places)), 3) or 'a line that is not known'}"


def _kind(target: Any) -> str:
    """aten::add.Tensor, or the name of a Python function that computes with sizes."""
    name = getattr(target, "name", None)
    return str(name()) if callable(name) else str(getattr(target, "__name__", target))
