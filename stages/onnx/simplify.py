"""Simplifies an ONNX graph with onnxsim, and keeps the result only when it is correct and smaller."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pipeline.artifact import Artifact, Kind
from pipeline.errors import listed
from pipeline.stage import AtLeast, Stage
from stages.formats import session
from stages.onnx import file as onnx_file
from stages.onnx import weightless
from stages.onnx.format import ONNX
from stages.portable.comparison import Tolerance
from stages.reference import parity
from stages.reference.tolerance import Within

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Simplify(Stage):
    """Constant folding, removal of duplicate and unused computation, and shape inference by onnxsim.

    The dynamo exporter already does most of this, and onnxsim can make a graph larger. A result is used when it has
    fewer nodes or fewer bytes of constants and is otherwise no larger, keeps the interface and the opset, passes onnx's
    checker and agrees with the PyTorch model. If not, the stage passes its input on unchanged, so that everything after
    it is still a hit; the summary says what was wrong, if anything.

    Args:
        weightless_above: Bytes of weights. Above this size onnxsim gets the graph without its large weights, so that
            they cost no time. It then folds nothing into them: a batch norm stays beside its convolution.
        tolerance: How far the simplified graph's outputs may be from the reference.

    Source: https://github.com/onnxsim/onnxsim
    """

    weightless_above: Annotated[int, AtLeast(0, "a number of bytes from 0 up")]
    tolerance: Annotated[Tolerance, Within()]

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "graph": frozenset({ONNX}),
        "reference": frozenset({Kind.REFERENCE}),
    }
    produces: ClassVar[Kind | str] = ONNX
    requires: ClassVar[tuple[str, ...]] = ("onnx", "onnxsim", "onnxruntime", "numpy", "safetensors")
    isolable: ClassVar[bool] = True

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        source = inputs["graph"]
        model = onnx_file.read(source.file, weights=False)
        old, promised = _Bulk.measure(model), _promises(model)
        outputs = {o.name: copy.deepcopy(o.type.tensor_type) for o in model.graph.output}
        size = source.file.stat().st_size + _beside(model)
        bare = sum(map(onnx_file.size, model.graph.initializer)) > self.weightless_above
        try:
            if not bare:
                onnx_file.take_in(model, source.file.parent)
            after = simplified(model, bare=bare)
        except Exception as e:  # its passes and the checker raise anything; the input graph is still good
            return _dropped(source, "onnxsim failed", e)
        new = _Bulk.measure(after)
        # Computed only where it is used: protobuf serialises the whole graph to find its size.
        grown = int(after.ByteSize()) + _beside(after) - size if new.is_less_than(old) else 0
        summary = f"{old.nodes} → {new.nodes} nodes" + (f", {grown:+,} bytes" if grown else "")
        if grown > 0 or not new.is_less_than(old):
            return source.noting(says=f"{summary}, not smaller: kept as it was")
        _keep_sizes(after, outputs)
        if changed := [what for what, was in promised.items() if _promises(after)[what] != was]:
            return _dropped(source, f"onnxsim changed {listed(changed)}")
        onnx_file.stamp(after, source.facts)
        onnx_file.write(after, folder)
        for name in onnx_file.files_beside(after):
            source.share(name, folder)
        result = Artifact(ONNX, folder, facts=source.facts)
        try:
            comparison = parity.measure(
                result, session.open_session(result, "float32"), inputs["reference"], self.tolerance
            )
        except Exception as e:  # a runtime raises anything for a wrong graph
            return _dropped(source, "its result cannot be run", e)
        if comparison.wrong:
            return _dropped(source, f"its result does not agree with the model: {listed(comparison.wrong, 1)}")
        aside = "; weights left aside, so nothing was folded into them" if bare else ""
        return Artifact(ONNX, folder, notes={"says": summary + aside})


def simplified(model: onnx.ModelProto, *, bare: bool) -> onnx.ModelProto:
    """A graph simplified by onnxsim and accepted by onnx's checker.

    Args:
        model: The graph; it must not be used afterwards.
        bare: Whether onnxsim gets the graph without its large weights.

    Raises what onnxsim and onnx raise.
    """
    import onnx
    import onnxsim

    annotated = bool(model.graph.value_info)
    weights = weightless.take_out(model) if bare else None
    # Its own check (check_n) draws inputs of one shape; the reference has several.
    result, _ = onnxsim.simplify(model, check_n=0)  # it runs onnx's checker on the result
    if weights is not None:
        weightless.put_back(result, weights)
    others = [p for p in result.metadata_props if not p.key.startswith("onnxsim.")]  # onnxsim's report about itself
    del result.metadata_props[:]
    result.metadata_props.extend(others)
    if not annotated:  # the shapes that it inferred make the file larger
        del result.graph.value_info[:]
    assert isinstance(result, onnx.ModelProto)
    return result


@dataclass(frozen=True)
class _Bulk:
    """How large a graph is: its nodes, and the bytes of its constants inside and outside the file."""

    nodes: int
    constants: int

    @classmethod
    def measure(cls, model: onnx.ModelProto) -> Self:
        constants = sum(map(onnx_file.size, onnx_file.tensors(model)))
        return cls(sum(1 for _ in onnx_file.nodes(model)), constants)

    def is_less_than(self, other: _Bulk) -> bool:
        less = self.nodes < other.nodes or self.constants < other.constants
        return less and self.nodes <= other.nodes


def _beside(model: onnx.ModelProto) -> int:
    """Bytes of the weights that are in files beside the graph."""
    return sum(map(onnx_file.size, onnx_file.external(model)))


def _promises(model: onnx.ModelProto) -> dict[str, Any]:
    """The properties that simplification must not change."""
    ports = {"the graph's inputs": model.graph.input, "the graph's outputs": model.graph.output}
    return {"the opset": onnx_file.opset(model)} | {
        what: [(p.name, p.type.SerializeToString(deterministic=True)) for p in values] for what, values in ports.items()
    }


def _keep_sizes(after: onnx.ModelProto, before: Mapping[str, onnx.TypeProto.Tensor]) -> None:
    """Restores the declared sizes of the outputs: onnxsim infers some, and renames dynamic ones."""
    for output in after.graph.output:
        was, now = before.get(output.name), output.type.tensor_type
        if was is not None and len(was.shape.dim) == len(now.shape.dim):
            now.shape.CopyFrom(was.shape)


def _dropped(source: Artifact, why: str, error: Exception | None = None) -> Artifact:
    first = f" with {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}" if error else ""
    summary = f"{why}{first}; the graph stays unchanged"
    return source.noting(says=summary, caution=summary)
