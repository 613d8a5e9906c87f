"""An ONNX graph in 16 bits: weights and computation, but for what is left alone.

Source: onnxruntime/transformers/float16.py, which knows float16. bfloat16 is put in its place afterwards, with weights
rounded anew: what float16 cannot hold, bfloat16 can.
"""

from __future__ import annotations

import collections
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from pipeline.errors import StageError
from stages.formats import graphs
from stages.onnx import file as onnx_file

if TYPE_CHECKING:
    import onnx


def to_float16(model: onnx.ModelProto, kept: Collection[str]) -> onnx.ModelProto:
    """The graph in float16; inputs and outputs keep their types.

    Args:
        model: Its nodes have names. Taken apart: what is returned shares its parts.
        kept: The names of operations that are left alone. What passes from one to the next stays in float32.
    """
    from onnxruntime.transformers import float16

    constants = _set_apart(model, kept)
    before = len(model.graph.node)
    model = float16.convert_float_to_float16(
        model,
        keep_io_types=True,
        op_block_list=float16.DEFAULT_OP_BLOCK_LIST,
        node_block_list=[*kept, *constants],
    )
    _put_right(model, before)
    return model


def to_bfloat16(model: onnx.ModelProto, kept: Collection[str]) -> onnx.ModelProto:
    """The graph in bfloat16, likewise.

    Raises:
        StageError: Where it has float16 already, which could not be told apart.
    """
    from onnx import TensorProto, helper, numpy_helper

    if any(t.data_type == TensorProto.FLOAT16 for t in onnx_file.tensors(model)):
        raise StageError("this graph has weights in float16 already", allowed="a graph in float32")
    exact = {name: numpy_helper.to_array(t) for name, t in _named(model) if t.data_type == TensorProto.FLOAT}
    made = to_float16(model, kept)
    del made.graph.value_info[:]  # the converter's, wrong about what is left alone; they are inferred again
    bfloat16 = helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16)
    for name, tensor in _named(made):
        if tensor.data_type == TensorProto.FLOAT16:
            values = exact[name] if name in exact else numpy_helper.to_array(tensor)  # what the converter added
            tensor.CopyFrom(numpy_helper.from_array(values.astype(bfloat16), tensor.name))
    for graph in onnx_file.graphs(made):
        for value in (*graph.input, *graph.output, *graph.value_info):
            if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
                value.type.tensor_type.elem_type = TensorProto.BFLOAT16
    for node in onnx_file.nodes(made):
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype") and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.BFLOAT16
    return made


def share(model: onnx.ModelProto, dtype: int) -> tuple[int, int]:
    """How many floating-point weights are of a type, and how many there are. Raises StageError where none became it."""
    from onnx import TensorProto

    weights = [i.data_type for i in model.graph.initializer if i.data_type in (TensorProto.FLOAT, dtype)]
    if weights and dtype not in weights:
        name = TensorProto.DataType.Name(dtype).lower()
        raise StageError(f"none of the {len(weights)} floating-point weights became {name}")
    return weights.count(dtype), len(weights)


def _named(model: onnx.ModelProto) -> list[tuple[str, onnx.TensorProto]]:
    """Every tensor by what stays the same while a graph is cast: an initialiser's name, or its node's output."""
    held = [(t.name, t) for graph in onnx_file.graphs(model) for t in graph.initializer]
    inside = [
        (f"{node.name or node.output[0]}/{attribute.name}", attribute.t)
        for node in onnx_file.nodes(model)
        for attribute in node.attribute
        if attribute.HasField("t")
    ]
    return held + inside


def _set_apart(model: onnx.ModelProto, kept: Collection[str]) -> list[str]:
    """Gives operations that are left alone weights of their own, where they share them with others.

    Returns the names of the Constant nodes that feed them.
    """
    ours = [n for n in model.graph.node if n.name in {*kept}]
    theirs = {i for n in onnx_file.nodes(model) if n.name not in {*kept} for i in n.input}
    held = {i.name: i for i in model.graph.initializer}
    for name in {i: None for n in ours for i in n.input if i in held and i in theirs}:
        copy = model.graph.initializer.add()
        copy.CopyFrom(held[name])
        copy.name = f"{name}_left_alone"
        for node in ours:
            node.input[:] = [copy.name if i == name else i for i in node.input]
    taken = {i for n in ours for i in n.input}
    return [n.name for n in model.graph.node if n.op_type == graphs.CONSTANT and n.output[0] in taken]


def _put_right(model: onnx.ModelProto, before: int) -> None:
    """Makes of the casts that onnxruntime's converter 1.31.1 put at the graph's end what a graph can have.

    Of two operations left alone that take the same value it casts that twice, by one name, which onnxruntime refuses;
    what passes between two it rounds to float16 and back, where large values become infinite; and nodes have to stand
    after those that feed them.

    Args:
        model: The graph.
        before: How many nodes it had before it was converted; the others are casts.
    """
    from onnx import TensorProto

    graph = model.graph
    nodes, casts = list(graph.node)[:before], {n.output[0]: n for n in graph.node[before:]}
    del graph.node[before:]
    rounded = {value: n.input[0] for value, n in casts.items() if n.attribute[0].i == TensorProto.FLOAT16}
    results, computed = {o.name for o in graph.output}, {o for n in nodes for o in n.output}
    names: dict[str, str] = {}  # of what was rounded and widened again, to what it is in float32
    for value, exact in [(v, rounded.get(n.input[0])) for v, n in casts.items() if v not in rounded]:
        if exact is None or (value in results and exact not in computed):
            continue
        names |= {exact: value} if value in results else {value: exact}
        del casts[value]
    for node in (*onnx_file.nodes(model), *casts.values()):
        node.input[:] = [_last(names, i) for i in node.input]
        node.output[:] = [_last(names, o) for o in node.output]
    taken = {i for n in (*onnx_file.nodes(model), *casts.values()) for i in n.input} | results
    after = collections.defaultdict(list)
    for value, cast in casts.items():
        if value in taken:
            after[cast.input[0]].append(cast)
    computed = {o for n in nodes for o in n.output}
    ordered = [c for value in [v for v in after if v not in computed] for c in after[value]]
    ordered += [one for node in nodes for one in (node, *(c for o in node.output for c in after[o]))]
    del graph.node[:]
    graph.node.extend(ordered)


def _last(names: Mapping[str, str], name: str) -> str:
    while name in names:
        name = names[name]
    return name
