"""The values of layers inside an ONNX graph, and whether they fit float16."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Artifact
from stages.formats import graphs, inner
from stages.formats.inner import Inner
from stages.formats.session import How
from stages.onnx import bfloat16
from stages.onnx import file as onnx_file
from stages.onnx import runtime as onnx_runtime

if TYPE_CHECKING:
    from stages.formats.session import Arrays


def values(artifact: Artifact, names: Sequence[str], inputs: Arrays, fed: Arrays, how: How) -> Arrays:
    import onnx
    import onnxruntime
    from onnx import helper

    model = onnx_file.read(artifact.file)
    graph, feeds = model.graph, dict(inputs)
    nodes = {node.name or node.output[0]: node for node in graph.node}
    for name, values in fed.items():
        value = nodes[name].output[0]
        nodes[name].output[0] = f"{value}/computed"
        graph.input.append(helper.make_tensor_value_info(value, helper.np_dtype_to_tensor_dtype(values.dtype), None))
        feeds[value] = values
    del graph.output[:], graph.value_info[:]
    graph.output.extend(onnx.ValueInfoProto(name=nodes[name].output[0]) for name in names)
    with tempfile.TemporaryDirectory() as folder:  # from memory, onnxruntime loads no more than one protobuf can hold
        path = onnx_file.write(model, Path(folder))
        running = onnxruntime.InferenceSession(
            path, providers=["CPUExecutionProvider"], disabled_optimizers=onnx_runtime.DISABLED.get(how.compute)
        )
    return dict(zip(names, running.run([nodes[name].output[0] for name in names], feeds), strict=True))


def all_values(artifact: Artifact, inputs: Arrays, how: How) -> Inner:
    model = onnx_file.read(artifact.file)
    names = list(inner.dynamic(graphs.read(artifact), [v.name for v in model.graph.input]))
    results = {node.name or node.output[0]: [o for o in node.output if o] for node in model.graph.node}
    if how.compute == "bfloat16":
        model = bfloat16.emulate(model)
    del model.graph.value_info[:]
    return inner.computed(names, lambda some: _run(model, {n: results[n] for n in some}, inputs, how))


def _run(model: Any, results: Mapping[str, Sequence[str]], inputs: Arrays, how: How) -> dict[str, list[Any]]:
    """The values of some nodes, computed with only the nodes that they need."""
    import numpy as np
    import onnx
    import onnxruntime

    value_names = [value for values in results.values() for value in values]
    needed, nodes = set(value_names), []
    for node in reversed(model.graph.node):
        if not needed.isdisjoint(node.output):
            nodes.append(node)
            needed |= {*node.input, *_outer_values(node)}
    part = onnx.ModelProto()
    part.CopyFrom(model)
    del part.graph.node[:], part.graph.output[:]
    part.graph.node.extend(reversed(nodes))
    part.graph.output.extend(onnx.ValueInfoProto(name=value) for value in value_names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # some cannot be computed, as expected
    with tempfile.TemporaryDirectory() as folder:  # as in `values`
        path = onnx_file.write(part, Path(folder))
        running = onnxruntime.InferenceSession(
            path, options, ["CPUExecutionProvider"], disabled_optimizers=onnx_runtime.DISABLED.get(how.compute)
        )
    arrays = dict(zip(value_names, running.run(value_names, dict(inputs)), strict=True))
    return {n: [arrays[v] for v in values if isinstance(arrays[v], np.ndarray)] for n, values in results.items()}


def _outer_values(node: Any) -> set[str]:
    """The outer values that the graphs inside a node may use."""
    bodies = [g for a in node.attribute for g in (*([a.g] if a.HasField("g") else ()), *a.graphs)]
    inside = [n for g in bodies for n in g.node]
    return {
        *(i for n in inside for i in (*n.input, *_outer_values(n))),
        *(o.name for g in bodies for o in g.output),
    }


def largest(artifact: Artifact, names: Collection[str], inputs: Arrays) -> float:
    """The largest magnitude among the values of some layers; 0 for none.

    onnxruntime returns only the largest magnitude of each value, so one run is enough for all layers.
    """
    import numpy as np
    import onnxruntime
    from onnx import ValueInfoProto, helper

    model = onnx_file.read(artifact.file)
    outputs = []
    for value in [node.output[0] for node in model.graph.node if (node.name or node.output[0]) in names]:
        outputs.append(f"{value}/largest")
        model.graph.node.append(helper.make_node("Abs", [value], [f"{value}/magnitude"]))
        model.graph.node.append(helper.make_node("ReduceMax", [f"{value}/magnitude"], outputs[-1:], keepdims=0))
    if not outputs:
        return 0.0
    del model.graph.output[:]
    model.graph.output.extend(ValueInfoProto(name=name) for name in outputs)
    with tempfile.TemporaryDirectory() as folder:  # as in `values`
        path = onnx_file.write(model, Path(folder))
        running = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return float(np.nanmax([float(v) for v in running.run(outputs, dict(inputs))]))
