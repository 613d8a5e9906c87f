"""What an ONNX file says of itself, and what we write into it."""

from __future__ import annotations

import collections
import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import FILES, Kind
from pipeline.errors import CheckFailed, StageError, listed
from stages._interface import Input

if TYPE_CHECKING:
    import onnx

METADATA_PREFIX = "drydock."
# Protobuf's own limit; beyond it the weights go into a file of their own, beside the graph.
LARGEST_PROTOBUF = 2**31 - 2**20


def read(path: Path, *, weights: bool = True) -> onnx.ModelProto:
    """The model in a file. Without weights, external tensors stay where they are. Raises what onnx raises."""
    import onnx

    return onnx.load(path, load_external_data=weights)


def write(model: onnx.ModelProto, folder: Path) -> Path:
    """Writes model.onnx, and model.onnx.data beside it when one protobuf cannot hold the weights."""
    import onnx

    path = folder / FILES[Kind.ONNX]
    external = model.ByteSize() > LARGEST_PROTOBUF
    onnx.save_model(model, path, save_as_external_data=external, location=f"{path.name}.data")
    return path


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

    Nodes carry stack traces with absolute paths. Anything else in ONNX that can hold free text may carry them in
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
    nodes = _nodes([*model.graph.node, *(n for f in model.functions for n in f.node)])
    custom = [n for n in nodes if n.domain not in known and (n.domain, n.op_type) not in functions]
    return dict(collections.Counter(f"{n.domain}::{n.op_type}" for n in custom))


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes and those of the graphs in their attributes: the branches of an If, the body of a Loop."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _nodes(graph.node)


def hold_to(model: onnx.ModelProto, *, wanted_opset: int, inputs: Mapping[str, Input], outputs: Sequence[str]) -> None:
    """Reads the graph back and compares it with what was asked for.

    Raises:
        StageError: When the opset or a name is another one.
        CheckFailed: When a dimension that was to be dynamic came out fixed, or the reverse.
    """
    if (found := opset(model)) != wanted_opset:
        raise StageError(
            f"asked for opset {wanted_opset}, the exporter wrote {found}",
            command=f"opset={found}, or capture=trace, whose exporter knows other opsets",
        )
    initializers = {i.name for i in model.graph.initializer}
    names = [i.name for i in model.graph.input if i.name not in initializers]
    if names != list(inputs):
        raise StageError(f"the graph's inputs are {listed(names)}; the model's YAML says {listed(inputs)}")
    if (made := [o.name for o in model.graph.output]) != list(outputs):
        raise StageError(f"the graph's outputs are {listed(made)}; the model's YAML says {listed(outputs)}")
    shapes = {
        i.name: [d.dim_param if d.HasField("dim_param") else d.dim_value for d in i.type.tensor_type.shape.dim]
        for i in model.graph.input
    }
    for name, spec in inputs.items():
        for axis, (got, asked) in enumerate(zip(shapes[name], spec.shape, strict=True)):
            if isinstance(got, str) != isinstance(asked, str):
                raise CheckFailed(
                    f"dimension {axis} of input '{name}' was asked for as {asked} and came out as {got}",
                    command="the model's code fixes that size; capture=trace or capture=export may differ",
                )
