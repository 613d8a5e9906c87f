"""Reads, writes, describes and verifies ONNX files."""

from __future__ import annotations

import collections
import functools
import gc
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from pipeline.errors import CheckFailed, ConfigError, StageError, listed
from pipeline.stage import World
from stages.interface.interface import Interface
from stages.onnx.format import ONNX
from stages.portable.vendor_errors import first_line

if TYPE_CHECKING:
    import onnx

METADATA_PREFIX = "drydock."
# Bytes. Larger weights go into their own file beside the graph. Protobuf's limit is 2 GiB, but a program that reads or
# writes such a graph has it in memory four times; weights beside it are mapped, and shared by later stages.
LARGEST_PROTOBUF = 2**28
# Bytes. That file has tensors of this size and more; shapes and scalars stay in the graph, where tools expect them.
SMALLEST_EXTERNAL = 1024


def read(path: Path, *, weights: bool = True) -> onnx.ModelProto:
    """The model in a file. With weights=False external tensors are not loaded.

    Raises what onnx raises, and StageError when a file that the graph names is not beside it, or is too short.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    if weights:
        take_in(model, path.parent)
    return model


def take_in(model: onnx.ModelProto, folder: Path) -> None:
    """Loads the external weights from the files of a folder into the model. Raises StageError as `read` does."""
    # onnx's own loader refuses hard links, and simplify shares files with its input by hard links.
    for tensor in external(model):
        tensor.raw_data = _content(tensor, folder)
        tensor.data_location = tensor.DEFAULT
        del tensor.external_data[:]


def values(tensor: onnx.TensorProto, folder: Path) -> Any:
    """A tensor's values as an array; those in a file beside the graph are mapped, and not read before they are used.

    Raises StageError as `read` does.
    """
    import numpy as np
    from onnx import helper, numpy_helper

    if not is_external(tensor):
        return numpy_helper.to_array(tensor)
    path, start = _place(tensor, folder)
    if not size(tensor):  # nothing cannot be mapped
        return np.empty(tensor.dims, helper.tensor_dtype_to_np_dtype(tensor.data_type))
    mapped = np.memmap(path, np.uint8, "r", start, size(tensor))
    return mapped.view(helper.tensor_dtype_to_np_dtype(tensor.data_type)).reshape(tensor.dims)


def _content(tensor: onnx.TensorProto, folder: Path) -> bytes:
    path, start = _place(tensor, folder)
    with path.open("rb") as f:
        f.seek(start)
        return f.read(size(tensor))


def _place(tensor: onnx.TensorProto, folder: Path) -> tuple[Path, int]:
    """The file with a tensor's values, and where they begin. Raises StageError where it is not there, or too short."""
    place: dict[str, str] = {e.key: e.value for e in tensor.external_data}
    path, start = folder / place["location"], int(place.get("offset", 0))
    if path.parent != folder or path.is_symlink() or not path.is_file():
        raise StageError(
            f"the graph's weight '{tensor.name}' is in '{place['location']}', which is no file beside the graph",
            allowed="plain files in the graph's own folder",
        )
    content = max(0, min(path.stat().st_size - start, int(place.get("length", sys.maxsize))))
    if content < size(tensor):
        raise StageError(f"{path.name} holds {content} bytes of the weight '{tensor.name}', not {size(tensor)}")
    return path, start


def write(model: onnx.ModelProto, folder: Path) -> Path:
    """Writes model.onnx, and model.onnx.data beside it when one protobuf cannot hold the weights.

    Weights that are in a file already stay there: only the graph is written.
    """
    import onnx

    path = folder / ONNX.file
    inside = (t for t in tensors(model) if not is_external(t))
    onnx.save_model(
        model,
        path,
        save_as_external_data=sum(map(size, inside)) > LARGEST_PROTOBUF,
        location=f"{path.name}.data",
        size_threshold=SMALLEST_EXTERNAL,
    )
    return path


def of_program(program: Any, folder: Path) -> onnx.ModelProto:
    """The model in a program of torch's dynamo exporter.

    Where one protobuf cannot hold the weights, this writes them to model.onnx.data, one at a time: all together would
    be in memory twice.

    Args:
        program: A torch.onnx.ONNXProgram.
        folder: Where `write` will put the graph.
    """
    weights = (v.const_value for v in program.model.graph.initializers.values())
    if sum(w.nbytes for w in weights if w is not None) <= LARGEST_PROTOBUF:
        model: onnx.ModelProto = program.model_proto
        return model
    path = folder / ONNX.file
    program.save(path, external_data=True)
    _forget_the_last_match()
    return read(path, weights=False)


def _forget_the_last_match() -> None:
    """Releases the graph that the exporter's rewrite rules would keep in memory until the process ends.

    Each rule keeps the nodes that it looked at last, and with them the whole graph and its weights (onnxscript 0.7.2,
    rewriter/_matcher.py). The search for the rules takes a moment, so it is done for large models only.
    """
    matcher = getattr(sys.modules.get("onnxscript.rewriter._matcher"), "SimplePatternMatcher", None)
    for rule in gc.get_objects() if matcher else ():
        if type(rule) is matcher:
            rule._match = rule._current_node = rule._graph = None


def nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node, including those of functions and of graphs inside nodes."""
    yield from _nodes([*model.graph.node, *(n for f in model.functions for n in f.node)])


def name_nodes(model: onnx.ModelProto) -> None:
    """Names each unnamed node of the main graph after its first output, as all other code here calls it."""
    for node in model.graph.node:
        node.name = node.name or node.output[0]


def graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The main graph, and those in attributes: the branches of an If, the body of a Loop."""
    yield model.graph
    for node in nodes(model):
        for attribute in node.attribute:
            yield from (attribute.g, *attribute.graphs)


def tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every initialiser, and every tensor in an attribute, such as a Constant's."""
    for graph in graphs(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in nodes(model):
        for attribute in node.attribute:
            yield from (*([attribute.t] if attribute.HasField("t") else ()), *attribute.tensors)
            one = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
            for sparse in (*one, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)


def is_external(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor's values are in a file beside the graph."""
    return bool(tensor.data_location == tensor.EXTERNAL)


def external(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    """The tensors whose values are in files beside the graph."""
    return [t for t in tensors(model) if is_external(t)]


def files_beside(model: onnx.ModelProto) -> list[str]:
    """The names of the files that hold a graph's external tensors."""
    return sorted({e.value for t in external(model) for e in t.external_data if e.key == "location"})


def beside(path: Path, digest: str, world: World, setting: str) -> list[str]:
    """The names of the weight files that a user's graph refers to, all inside the graph's own folder.

    A file with the same digest always refers to the same files, so the names are remembered between runs.

    Args:
        path: The graph's file.
        digest: Its SHA-256.
        world: Remembers the names.
        setting: The setting with the path, for the message.

    Raises:
        ConfigError: When the file is no ONNX model, or refers to a file outside its folder.
    """
    fact = f"external data of {digest}"
    if (listing := world.recall(fact, math.inf)) is None:
        try:
            model = read(path, weights=False)
        except Exception as e:  # protobuf raises anything
            raise ConfigError(f"{setting}={path} is no ONNX model: {first_line(e)}") from e
        listing = json.dumps(files_beside(model))
        world.remember(fact, listing)
    names: list[str] = json.loads(listing)
    if outside := [n for n in names if PurePath(n).name != n or n == ".." or (path.parent / n).is_symlink()]:
        raise ConfigError(
            f"{setting}={path} wants to read {listed(outside)}, which is outside its folder",
            allowed="plain files in the same folder as the .onnx file",
            command="save the model again with its weights beside it",
        )
    return names


def size(tensor: onnx.TensorProto) -> int:
    """Bytes of a tensor's values, inside or outside the file."""
    from onnx import TensorProto, helper

    if tensor.data_type == TensorProto.STRING:
        return sum(map(len, tensor.string_data))
    if length := next((e.value for e in tensor.external_data if e.key == "length"), None):
        return int(length)
    count: int = math.prod(tensor.dims)
    return count * int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def opset(model: onnx.ModelProto) -> int:
    """The version of the standard operator set that a model declares."""
    return int(next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")))


def stamp(model: onnx.ModelProto, facts: Mapping[str, Any]) -> None:
    """Writes provenance into the model's metadata, in place of an earlier stage's."""
    others = [p for p in model.metadata_props if not p.key.startswith(METADATA_PREFIX)]
    del model.metadata_props[:]
    model.metadata_props.extend(others)
    for name in sorted(facts):
        text = facts[name] if isinstance(facts[name], str) else json.dumps(facts[name], sort_keys=True)
        model.metadata_props.add(key=METADATA_PREFIX + name, value=text)


def strip(model: onnx.ModelProto) -> None:
    """Removes what tells from where and from what code a graph was exported, so that equal models are equal bytes.

    Nodes carry stack traces. In another version any free text may, so every doc_string and metadata_props is removed,
    also of graphs, functions, values and tensors.
    """
    pending: list[Any] = [model]
    while pending:
        message = pending.pop()
        provenance, messages = _fields(message.DESCRIPTOR)
        for field in provenance:
            message.ClearField(field)
        for field in messages:
            value = getattr(message, field)
            if hasattr(value, "add"):  # repeated
                pending.extend(value)
            elif message.HasField(field):
                pending.append(value)


@functools.cache
def _fields(kind: Any) -> tuple[list[str], list[str]]:
    """The fields of a kind of message that tell its origin, and those that contain messages; no tensor data."""
    provenance = [f.name for f in kind.fields if f.name in ("doc_string", "metadata_props")]
    return provenance, [f.name for f in kind.fields if f.message_type is not None and f.name not in provenance]


def custom_operators(path: Path) -> dict[str, int]:
    """How often each operator occurs that is neither in a standard domain nor one of the file's own functions."""
    import onnx

    model = read(path, weights=False)
    domains = {"", *(s.domain for s in onnx.defs.get_all_schemas())}
    functions = {(f.domain, f.name) for f in model.functions}
    custom = [n for n in nodes(model) if n.domain not in domains and (n.domain, n.op_type) not in functions]
    return dict(collections.Counter(f"{n.domain}::{n.op_type}" for n in custom))


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes and those of the graphs in their attributes: the branches of an If, the body of a Loop."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _nodes(graph.node)


def verify_interface(model: onnx.ModelProto, expected_opset: int, interface: Interface) -> None:
    """Verifies a graph's opset, names and shapes, and gives its dimensions the interface's names.

    Raises:
        StageError: When the opset or a name differs.
        CheckFailed: When a dimension that should be dynamic is fixed, or the reverse.
    """
    if (written := opset(model)) != expected_opset:
        raise StageError(
            f"asked for opset {expected_opset}, the exporter wrote {written}",
            command=f"opset={written}, or capture=trace, whose exporter knows other opsets",
        )
    graph_inputs, graph_outputs = inputs(model), list(model.graph.output)
    if (names := [i.name for i in graph_inputs]) != list(interface.inputs):
        raise StageError(f"the graph's inputs are {listed(names)}; the model's are {listed(interface.inputs)}")
    if (names := [o.name for o in graph_outputs]) != list(interface.outputs):
        raise StageError(f"the graph's outputs are {listed(names)}; the model's are {listed(interface.outputs)}")
    for value, spec in zip(graph_inputs, interface.inputs.values(), strict=True):
        _verify_axes(value, spec.shape, "input")
    follows_values = _follows_values(model)
    for value, output in zip(graph_outputs, interface.outputs.values(), strict=True):
        # A size that was equal at every recorded shape counts as fixed, unless the graph has operators whose output
        # sizes depend on values.
        fixed = len(interface.dims) > 0 and not follows_values
        _verify_axes(value, [d if isinstance(d, str) or (fixed and d) else None for d in output.shape], "output")


def _verify_axes(value: onnx.ValueInfoProto, expected: Sequence[Any], what: str) -> None:
    """Compares one shape with the expected one: a number, a name, or None where the size is unknown."""
    dims = value.type.tensor_type.shape.dim
    if value.type.tensor_type.HasField("shape") and len(dims) != len(expected):
        raise CheckFailed(f"{what} '{value.name}' has {len(dims)} dimensions, the model's has {len(expected)}")
    if len(dims) != len(expected):
        for _ in expected:
            dims.add()
    for axis, (dim, expected_dim) in enumerate(zip(dims, expected, strict=True)):
        got = dim.dim_value if dim.HasField("dim_value") else None
        if isinstance(expected_dim, str) and got is not None:
            raise CheckFailed(
                f"dimension {axis} of {what} '{value.name}' was to follow '{expected_dim}' and came out as {got}",
                allowed="dimensions that the model's code does not fix",
                command="capture=trace or capture=export may differ; else a number in model.inputs.NAME.shape",
            )
        if isinstance(expected_dim, int) and what == "input" and got != expected_dim:
            raise CheckFailed(
                f"dimension {axis} of {what} '{value.name}' was asked for as {expected_dim} and came out as "
                f"{got or dim.dim_param or 'dynamic'}"
            )
        if isinstance(expected_dim, str):
            dim.dim_param = expected_dim
        elif expected_dim is not None:
            dim.dim_value = expected_dim


# Operators whose output sizes depend on values, or whose bodies may contain such operators.
VALUES_DECIDE = {"NonZero", "NonMaxSuppression", "Unique", "Compress", "Loop", "If", "Scan", "Range", "StringSplit"}


def _follows_values(model: onnx.ModelProto) -> bool:
    return any(n.op_type in VALUES_DECIDE for n in nodes(model))


def inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The graph's inputs without the weights, which old files list among them."""
    weights = {i.name for i in model.graph.initializer}
    return [i for i in model.graph.input if i.name not in weights]


def unprefix(model: onnx.ModelProto, prefix: str) -> None:
    """Removes a prefix from the weights' names, so that they are those of the module's state dict."""
    used = {name for n in _nodes(model.graph.node) for name in n.output} | {i.name for i in model.graph.input}
    renamed = {
        i.name: i.name.removeprefix(prefix)
        for i in model.graph.initializer
        if i.name.startswith(prefix) and i.name.removeprefix(prefix) not in used
    }
    # Old files list their weights among the inputs too.
    for weight in (*model.graph.initializer, *model.graph.input, *model.graph.value_info):
        weight.name = renamed.get(weight.name, weight.name)
    for node in _nodes(model.graph.node):
        for place, name in enumerate(node.input):
            if name in renamed:
                node.input[place] = renamed[name]
    for output in model.graph.output:  # a weight that is returned as it is
        output.name = renamed.get(output.name, output.name)
