"""Which nodes of an ONNX graph keep float32 to protect a denominator; see stages/formats/denominators.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stages.formats.denominators import Graph, Step

if TYPE_CHECKING:
    import onnx


def in_float32(model: onnx.ModelProto) -> list[str]:
    """The names of the nodes that keep float32 because a small constant guards a denominator there.

    Args:
        model: Its nodes have names.
    """
    from onnx import numpy_helper

    tensors = {t.name: t for t in model.graph.initializer}
    tensors |= {
        n.output[0]: a.t for n in model.graph.node if n.op_type == "Constant" for a in n.attribute if a.HasField("t")
    }
    single = {name: t for name, t in tensors.items() if all(size == 1 for size in t.dims)}
    numbers = {name: numpy_helper.to_array(t).item() for name, t in single.items()}
    return Graph(
        [
            Step(
                n.name,
                n.op_type,
                [None if i in tensors else i for i in n.input if i],
                n.output,
                [float(numbers[i]) for i in n.input if i in numbers and isinstance(numbers[i], int | float)],
            )
            for n in model.graph.node
        ]
    ).in_float32
