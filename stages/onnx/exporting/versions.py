"""Finds operators that an exporter wrote and that the graph's opset does not have: a runtime refuses such a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import StageError, listed
from stages.onnx import file as onnx_file

if TYPE_CHECKING:
    import onnx

OURS = ("", "ai.onnx")


def verify(model: onnx.ModelProto) -> None:
    """Raises StageError for a graph with an operator that is newer than its opset."""
    import onnx

    opset = onnx_file.opset(model)
    kinds = dict.fromkeys(n.op_type for n in onnx_file.nodes(model) if n.domain in OURS)
    if since := {kind: _since(kind) for kind in kinds if not _has(opset, kind) and onnx.defs.has(kind, "")}:
        needed = max(since.values())
        raise StageError(
            f"the exporter wrote {listed(since)}, which opset {opset} does not have",
            allowed=f"opset {needed} or later",
            command=f"opset={needed}",
        )


def _has(opset: int, kind: str) -> bool:
    import onnx

    try:
        onnx.defs.get_schema(kind, opset, "")
    except onnx.defs.SchemaError:
        return False
    return True


def _since(kind: str) -> int:
    """The first opset that has an operator."""
    import onnx

    schemas = onnx.defs.get_all_schemas_with_history()
    return int(min(s.since_version for s in schemas if s.name == kind and not s.domain))
