"""Casts weights and computation of an ONNX graph to 16 bits, except for chosen operations.

Source: onnxruntime/transformers/float16.py, which casts to float16. For bfloat16 its float16 is replaced afterwards,
and weights are rounded again from float32: bfloat16 holds larger and smaller numbers than float16.
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


def to_float16(model: onnx.ModelProto, in_float32: Collection[str]) -> onnx.ModelProto:
    """The graph in float16; inputs and outputs keep their types.

    Args:
        model: Its nodes have names. It must not be used afterwards: the result shares its parts.
        in_float32: The names of operations that stay in float32. Values between two of them stay in float32 too.
    """
    from onnxruntime.transformers import float16

    constants = _separate_weights(model, in_float32)
    before = len(model.graph.node)
    model = float16.convert_float_to_float16(
        model,
        keep_io_types=True,
        op_block_list=float16.DEFAULT_OP_BLOCK_LIST,
        node_block_list=[*in_float32, *constants],
    )
    _repair_casts(model, before)
    return model


def to_bfloat16(model: onnx.ModelProto, in_float32: Collection[str]) -> onnx.ModelProto:
    """The graph in bfloat16; inputs and outputs keep their types. For the arguments see `to_float16`.

    Raises:
        StageError: Where the graph has float16 already: it could not be told from the converter's.
    """
    from onnx import TensorProto, helper, numpy_helper

    if any(t.data_type == TensorProto.FLOAT16 for t in onnx_file.tensors(model)):
        raise StageError("this graph has weights in float16 already", allowed="a graph in float32")
    exact = {name: numpy_helper.to_array(t) for name, t in _tensors_by_name(model) if t.data_type == TensorProto.FLOAT}
    half = to_float16(model, in_float32)
    del half.graph.value_info[:]  # the converter's types, wrong for operations in float32; they are inferred again
    bfloat16 = helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16)
    for name, tensor in _tensors_by_name(half):
        if tensor.data_type == TensorProto.FLOAT16:
            values = exact[name] if name in exact else numpy_helper.to_array(tensor)  # the converter added this one
            tensor.CopyFrom(numpy_helper.from_array(values.astype(bfloat16), tensor.name))
    for graph in onnx_file.graphs(half):
        for value in (*graph.input, *graph.output, *graph.value_info):
            if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
                value.type.tensor_type.elem_type = TensorProto.BFLOAT16
    for node in onnx_file.nodes(half):
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype") and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.BFLOAT16
    return half


def weights_of_type(model: onnx.ModelProto, dtype: int) -> tuple[int, int]:
    """How many floating-point weights have a type, and how many there are. Raises StageError where none has it."""
    from onnx import TensorProto

    weights = [i.data_type for i in model.graph.initializer if i.data_type in (TensorProto.FLOAT, dtype)]
    if weights and dtype not in weights:
        name = TensorProto.DataType.Name(dtype).lower()
        raise StageError(f"none of the {len(weights)} floating-point weights became {name}")
    return weights.count(dtype), len(weights)


def _tensors_by_name(model: onnx.ModelProto) -> list[tuple[str, onnx.TensorProto]]:
    """Every tensor, under a name that a cast of the graph does not change: an initialiser's, or its node's."""
    initialisers = [(t.name, t) for graph in onnx_file.graphs(model) for t in graph.initializer]
    inside = [
        (f"{node.name or node.output[0]}/{attribute.name}", attribute.t)
        for node in onnx_file.nodes(model)
        for attribute in node.attribute
        if attribute.HasField("t")
    ]
    return initialisers + inside


def _separate_weights(model: onnx.ModelProto, in_float32: Collection[str]) -> list[str]:
    """Gives operations that stay in float32 their own copies of weights that they share with others.

    Returns the names of the Constant nodes that feed these operations.
    """
    ours = [n for n in model.graph.node if n.name in {*in_float32}]
    theirs = {i for n in onnx_file.nodes(model) if n.name not in {*in_float32} for i in n.input}
    initialisers = {i.name: i for i in model.graph.initializer}
    for name in {i: None for n in ours for i in n.input if i in initialisers and i in theirs}:
        copy = model.graph.initializer.add()
        copy.CopyFrom(initialisers[name])
        copy.name = f"{name}_left_alone"
        for node in ours:
            node.input[:] = [copy.name if i == name else i for i in node.input]
    inputs = {i for n in ours for i in n.input}
    return [n.name for n in model.graph.node if n.op_type == graphs.CONSTANT and n.output[0] in inputs]


def _repair_casts(model: onnx.ModelProto, before: int) -> None:
    """Repairs the Cast nodes that onnxruntime 1.31.1's float16 converter appends.

    Removes duplicates: where two operations in float32 take the same value, the converter casts it twice under one
    name, which onnxruntime refuses. Removes casts to float16 and back between two operations in float32: large values
    become infinite there. And sorts the nodes: each must stand after those that feed it.

    Args:
        model: The graph.
        before: How many nodes it had before the conversion; all later ones are casts.
    """
    from onnx import TensorProto

    graph = model.graph
    nodes, casts = list(graph.node)[:before], {n.output[0]: n for n in graph.node[before:]}
    del graph.node[before:]
    rounded = {value: n.input[0] for value, n in casts.items() if n.attribute[0].i == TensorProto.FLOAT16}
    results, computed = {o.name for o in graph.output}, {o for n in nodes for o in n.output}
    names: dict[str, str] = {}  # of a value that was rounded and widened again, to the name of the float32 value
    for value, exact in [(v, rounded.get(n.input[0])) for v, n in casts.items() if v not in rounded]:
        if exact is None or (value in results and exact not in computed):
            continue
        names |= {exact: value} if value in results else {value: exact}
        del casts[value]
    for node in (*onnx_file.nodes(model), *casts.values()):
        node.input[:] = [_resolved(names, i) for i in node.input]
        node.output[:] = [_resolved(names, o) for o in node.output]
    used = {i for n in (*onnx_file.nodes(model), *casts.values()) for i in n.input} | results
    after = collections.defaultdict(list)
    for value, cast in casts.items():
        if value in used:
            after[cast.input[0]].append(cast)
    computed = {o for n in nodes for o in n.output}
    ordered = [c for value in [v for v in after if v not in computed] for c in after[value]]
    ordered += [one for node in nodes for one in (node, *(c for o in node.output for c in after[o]))]
    del graph.node[:]
    graph.node.extend(ordered)


def _resolved(names: Mapping[str, str], name: str) -> str:
    while name in names:
        name = names[name]
    return name
