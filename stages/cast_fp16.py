"""Casts an ONNX graph to half precision."""

from __future__ import annotations

import collections
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pipeline.artifact import Artifact, Kind
from pipeline.errors import Problem, StageError
from pipeline.stage import Stage
from stages import _dtypes, _ignored, _onnx_file
from stages._ignored import Ignored

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class CastFp16(Stage):
    """Weights and computation in float16; inputs and outputs keep their types.

    Args:
        ignored: Operations that are left alone, on top of those that onnxruntime's converter always leaves. What passes
            from one such operation to the next stays in float32.

    Source: onnxruntime/transformers/float16.py.
    """

    ignored: Ignored

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"graph": frozenset({Kind.ONNX})}
    produces: ClassVar[Kind | str] = Kind.ONNX
    requires: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime")
    version: ClassVar[int] = 2

    def problems(self) -> list[Problem]:
        return self.ignored.problems()

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        from onnx import TensorProto
        from onnxruntime.transformers import float16

        source = inputs["graph"]
        kept = self.ignored.within(_dtypes.of(source))
        model = _onnx_file.read(source.file)
        _onnx_file.name_nodes(model)
        constants = _set_apart(model, kept)
        before = len(model.graph.node)
        model = float16.convert_float_to_float16(
            model,
            keep_io_types=True,
            op_block_list=float16.DEFAULT_OP_BLOCK_LIST,
            node_block_list=[*kept, *constants],
        )
        _put_right(model, before)
        floating = (TensorProto.FLOAT, TensorProto.FLOAT16)
        weights = [i.data_type for i in model.graph.initializer if i.data_type in floating]
        halves = weights.count(TensorProto.FLOAT16)
        if weights and not halves:
            raise StageError(f"none of the {len(weights)} floating-point weights became float16")
        facts = {"storage": "float16", _ignored.FACT: asdict(self.ignored)}
        _onnx_file.stamp(model, {**source.facts, **facts})
        _onnx_file.write(model, folder)
        says = f"{halves} of {len(weights)} floating-point weights in float16"
        return Artifact(Kind.ONNX, folder, facts=facts, notes={"says": says})


def _set_apart(model: onnx.ModelProto, kept: Collection[str]) -> list[str]:
    """Gives operations that are left alone weights of their own, where they share them with others.

    Returns the names of the Constant nodes that feed them.
    """
    ours = [n for n in model.graph.node if n.name in {*kept}]
    theirs = {i for n in _onnx_file.nodes(model) if n.name not in {*kept} for i in n.input}
    held = {i.name: i for i in model.graph.initializer}
    for name in {i: None for n in ours for i in n.input if i in held and i in theirs}:
        copy = model.graph.initializer.add()
        copy.CopyFrom(held[name])
        copy.name = f"{name}_left_alone"
        for node in ours:
            node.input[:] = [copy.name if i == name else i for i in node.input]
    taken = {i for n in ours for i in n.input}
    return [n.name for n in model.graph.node if n.op_type == _dtypes.CONSTANT and n.output[0] in taken]


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
    for node in (*_onnx_file.nodes(model), *casts.values()):
        node.input[:] = [_last(names, i) for i in node.input]
        node.output[:] = [_last(names, o) for o in node.output]
    taken = {i for n in (*_onnx_file.nodes(model), *casts.values()) for i in n.input} | results
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
