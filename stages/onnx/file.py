"""What an ONNX file says of itself, and what we write into it."""

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
from stages.portable.said import first_line

if TYPE_CHECKING:
    import onnx

METADATA_PREFIX = "drydock."
# Weights beyond it go into a file of their own beside the graph. Protobuf itself ends at twice that, and by then
# whoever reads or writes the graph has all of it in memory four times.
LARGEST_PROTOBUF = 2**30
# In that file are tensors of this many bytes and more; shapes and scalars stay in the graph, where tools look for them.
SMALLEST_EXTERNAL = 1024


def read(path: Path, *, weights: bool = True) -> onnx.ModelProto:
    """The model in a file. Without weights, external tensors stay where they are.

    Raises what onnx raises; StageError when a file that the graph names is not beside it, or shorter than it says.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    if weights:
        take_in(model, path.parent)
    return model


def take_in(model: onnx.ModelProto, folder: Path) -> None:
    """Puts the weights that are in files of a folder into the model. Raises StageError as `read` does."""
    # onnx's own loader refuses a file that has two names, as those have that simplify shares with its input.
    for tensor in external(model):
        tensor.raw_data = _content(tensor, folder)
        tensor.data_location = tensor.DEFAULT
        del tensor.external_data[:]


def _content(tensor: onnx.TensorProto, folder: Path) -> bytes:
    place: dict[str, str] = {e.key: e.value for e in tensor.external_data}
    path = folder / place["location"]
    if path.parent != folder or path.is_symlink() or not path.is_file():
        raise StageError(
            f"the graph's weight '{tensor.name}' is in '{place['location']}', which is no file beside the graph",
            allowed="plain files in the graph's own folder",
        )
    with path.open("rb") as f:
        f.seek(int(place.get("offset", 0)))
        content = f.read(int(place.get("length", -1)))
    if len(content) != size(tensor):
        raise StageError(f"{path.name} holds {len(content)} bytes of the weight '{tensor.name}', not {size(tensor)}")
    return content


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
    """The model that torch's dynamo exporter made.

    Where one protobuf cannot hold the weights, they are in model.onnx.data by now, written one at a time: together
    they would be in memory twice.

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
    """Lets go of what the exporter's rewrite rules keep as long as the process lives.

    Each has the nodes that it looked at last, and with them the whole graph and its weights (onnxscript 0.7.2,
    rewriter/_matcher.py). Looking for the rules takes a moment that only large models are worth.
    """
    matcher = getattr(sys.modules.get("onnxscript.rewriter._matcher"), "SimplePatternMatcher", None)
    for rule in gc.get_objects() if matcher else ():
        if type(rule) is matcher:
            rule._match = rule._current_node = rule._graph = None


def nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node, those of functions and of graphs inside nodes included."""
    yield from _nodes([*model.graph.node, *(n for f in model.functions for n in f.node)])


def name_nodes(model: onnx.ModelProto) -> None:
    """Gives each node of the main graph that has no name its first output's, by which it is called everywhere else."""
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
    """The names of the files with weights that a user's graph names, each inside the graph's own folder.

    What a file of this digest names never changes, so it is looked up once and not on every run.

    Args:
        path: The graph's file.
        digest: Its SHA-256.
        world: Remembers the names.
        setting: What says the path, for the message.

    Raises:
        ConfigError: When the file is no ONNX model, or names a file outside its folder.
    """
    fact = f"external data of {digest}"
    if (known := world.recall(fact, math.inf)) is None:
        try:
            model = read(path, weights=False)
        except Exception as e:  # protobuf raises anything
            raise ConfigError(f"{setting}={path} is no ONNX model: {first_line(e)}") from e
        known = json.dumps(files_beside(model))
        world.remember(fact, known)
    names: list[str] = json.loads(known)
    if outside := [n for n in names if PurePath(n).name != n or n == ".." or (path.parent / n).is_symlink()]:
        raise ConfigError(
            f"{setting}={path} wants to read {listed(outside)}, which is outside its folder",
            allowed="plain files in the same folder as the .onnx file",
            command="save the model again with its weights beside it",
        )
    return names


def size(tensor: onnx.TensorProto) -> int:
    """Bytes of a tensor's values, wherever they are."""
    from onnx import TensorProto, helper

    if tensor.data_type == TensorProto.STRING:
        return sum(map(len, tensor.string_data))
    if found := next((e.value for e in tensor.external_data if e.key == "length"), None):
        return int(found)
    count: int = math.prod(tensor.dims)
    return count * int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def opset(model: onnx.ModelProto) -> int:
    """The version of the standard operator set that a model declares."""
    return int(next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")))


def stamp(model: onnx.ModelProto, facts: Mapping[str, Any]) -> None:
    """Writes provenance into the model's metadata, in place of an earlier stage's."""
    kept = [p for p in model.metadata_props if not p.key.startswith(METADATA_PREFIX)]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    for name in sorted(facts):
        text = facts[name] if isinstance(facts[name], str) else json.dumps(facts[name], sort_keys=True)
        model.metadata_props.add(key=METADATA_PREFIX + name, value=text)


def strip(model: onnx.ModelProto) -> None:
    """Takes out what an exporter tells of where and from what code it exported: equal models become equal bytes.

    Nodes carry stack traces. Anything else in ONNX that can hold free text may carry them in
    another version, so every doc_string and metadata_props goes, on graphs, functions, values and tensors too.
    """
    pending: list[Any] = [model]
    while pending:
        message = pending.pop()
        told, held = _fields(message.DESCRIPTOR)
        for field in told:
            message.ClearField(field)
        for field in held:
            value = getattr(message, field)
            if hasattr(value, "add"):  # repeated
                pending.extend(value)
            elif message.HasField(field):
                pending.append(value)


@functools.cache
def _fields(kind: Any) -> tuple[list[str], list[str]]:
    """Of a kind of message, the fields that tell of its origin, and those that hold messages. Not the tensors' data."""
    told = [f.name for f in kind.fields if f.name in ("doc_string", "metadata_props")]
    return told, [f.name for f in kind.fields if f.message_type is not None and f.name not in told]


def custom_operators(path: Path) -> dict[str, int]:
    """How often each operator occurs that is neither of a standard domain nor a function of the file's own."""
    import onnx

    model = read(path, weights=False)
    known = {"", *(s.domain for s in onnx.defs.get_all_schemas())}
    functions = {(f.domain, f.name) for f in model.functions}
    custom = [n for n in nodes(model) if n.domain not in known and (n.domain, n.op_type) not in functions]
    return dict(collections.Counter(f"{n.domain}::{n.op_type}" for n in custom))


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes and those of the graphs in their attributes: the branches of an If, the body of a Loop."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _nodes(graph.node)


def hold_to(model: onnx.ModelProto, wanted_opset: int, interface: Interface) -> None:
    """Reads the graph back, compares it with what was asked for, and gives its dimensions the interface's names.

    Raises:
        StageError: When the opset or a name is another one.
        CheckFailed: When a dimension that was to be dynamic came out fixed, or the reverse.
    """
    if (found := opset(model)) != wanted_opset:
        raise StageError(
            f"asked for opset {wanted_opset}, the exporter wrote {found}",
            command=f"opset={found}, or capture=trace, whose exporter knows other opsets",
        )
    given, made = inputs(model), list(model.graph.output)
    if (names := [i.name for i in given]) != list(interface.inputs):
        raise StageError(f"the graph's inputs are {listed(names)}; the model's are {listed(interface.inputs)}")
    if (names := [o.name for o in made]) != list(interface.outputs):
        raise StageError(f"the graph's outputs are {listed(names)}; the model's are {listed(interface.outputs)}")
    for value, spec in zip(given, interface.inputs.values(), strict=True):
        _hold_axes(value, spec.shape, "input")
    follows_values = _follows_values(model)
    for value, output in zip(made, interface.outputs.values(), strict=True):
        # A size that was the same at every shape is fixed, unless operators are there whose results' sizes depend on
        # values: only then is what was seen no proof.
        fixed = len(interface.dims) > 0 and not follows_values
        _hold_axes(value, [d if isinstance(d, str) or (fixed and d) else None for d in output.shape], "output")


def _hold_axes(value: onnx.ValueInfoProto, wanted: Sequence[Any], what: str) -> None:
    """Compares one shape with what was asked for: a number, a name, or None for what is not known."""
    dims = value.type.tensor_type.shape.dim
    if value.type.tensor_type.HasField("shape") and len(dims) != len(wanted):
        raise CheckFailed(f"{what} '{value.name}' has {len(dims)} dimensions, the model's has {len(wanted)}")
    if len(dims) != len(wanted):
        for _ in wanted:
            dims.add()
    for axis, (dim, asked) in enumerate(zip(dims, wanted, strict=True)):
        got = dim.dim_value if dim.HasField("dim_value") else None
        if isinstance(asked, str) and got is not None:
            raise CheckFailed(
                f"dimension {axis} of {what} '{value.name}' was to follow '{asked}' and came out as {got}",
                allowed="dimensions that the model's code does not fix",
                command="capture=trace or capture=export may differ; else a number in model.inputs.NAME.shape",
            )
        if isinstance(asked, int) and what == "input" and got != asked:
            raise CheckFailed(
                f"dimension {axis} of {what} '{value.name}' was asked for as {asked} and came out as "
                f"{got or dim.dim_param or 'dynamic'}"
            )
        if isinstance(asked, str):
            dim.dim_param = asked
        elif asked is not None:
            dim.dim_value = asked


# Operators whose results' sizes depend on values, or whose bodies may hold such.
VALUES_DECIDE = {"NonZero", "NonMaxSuppression", "Unique", "Compress", "Loop", "If", "Scan", "Range", "StringSplit"}


def _follows_values(model: onnx.ModelProto) -> bool:
    return any(n.op_type in VALUES_DECIDE for n in nodes(model))


def inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The graph's inputs; old files list the weights among them, with their values elsewhere."""
    weights = {i.name for i in model.graph.initializer}
    return [i for i in model.graph.input if i.name not in weights]


def unprefix(model: onnx.ModelProto, prefix: str) -> None:
    """Takes a prefix off the weights' names, so that they are called as in the module's state dict."""
    taken = {name for n in _nodes(model.graph.node) for name in n.output} | {i.name for i in model.graph.input}
    renamed = {
        i.name: i.name.removeprefix(prefix)
        for i in model.graph.initializer
        if i.name.startswith(prefix) and i.name.removeprefix(prefix) not in taken
    }
    # Old files list their weights among the inputs, too.
    for weight in (*model.graph.initializer, *model.graph.input, *model.graph.value_info):
        weight.name = renamed.get(weight.name, weight.name)
    for node in _nodes(model.graph.node):
        for place, name in enumerate(node.input):
            if name in renamed:
                node.input[place] = renamed[name]
    for output in model.graph.output:  # a weight that is returned as it is
        output.name = renamed.get(output.name, output.name)
