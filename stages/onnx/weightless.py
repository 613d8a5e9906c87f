"""Takes the large weights out of a graph, for tools that need only its structure, and puts them back afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.onnx import file as onnx_file

if TYPE_CHECKING:
    import onnx

# Bytes. Shapes, axes and scalars are smaller, and stay for constants to be folded.
SMALL = 1024


@dataclass(frozen=True)
class Weights:
    """The large initialisers of a graph, with values inside the graph or in a file beside it.

    Args:
        tensors: The initialisers, in their order.
        inputs: The names of the graph's inputs before they were taken out.
    """

    tensors: Sequence[onnx.TensorProto]
    inputs: Sequence[str]


def take_out(model: onnx.ModelProto) -> Weights:
    """Replaces every large initialiser of the main graph by an input. Those of branches and loop bodies stay."""
    from onnx import helper

    graph = model.graph
    inputs = [i.name for i in graph.input]
    places = [i for i, t in enumerate(graph.initializer) if onnx_file.is_external(t) or onnx_file.size(t) > SMALL]
    large = [graph.initializer.pop(i) for i in reversed(places)][::-1]  # popped, they are not copied
    # Before version 4 of the format each initialiser was listed among the inputs too.
    absent = [t for t in large if t.name not in inputs]
    graph.input.extend(helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in absent)
    return Weights(large, inputs)


def put_back(model: onnx.ModelProto, weights: Weights) -> None:
    """Undoes `take_out`, also on a changed graph; weights that nothing uses any more are left out."""
    graph = model.graph
    used = {o.name for g in onnx_file.graphs(model) for o in g.output}
    used |= {name for n in onnx_file.nodes(model) for name in n.input}
    graph.initializer.extend(t for t in weights.tensors if t.name in used)
    added = {t.name for t in weights.tensors} - set(weights.inputs)
    inputs = [i for i in graph.input if i.name not in added]
    del graph.input[:]
    graph.input.extend(inputs)
