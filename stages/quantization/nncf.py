"""Runs NNCF quietly: it lowers a graph of either format, and the result is written with the same bytes each time.

Source: https://docs.openvino.ai/2026/openvino-workflow/model-optimization.html
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.artifact import Artifact, Kind
from pipeline.errors import DrydockError, Problem, StageError, listed
from pipeline.stage import Setting
from stages.formats import graphs
from stages.formats import ignored as ignored_operations
from stages.formats.ignored import Ignored
from stages.onnx import file as onnx_file
from stages.onnx.format import ONNX
from stages.openvino import convert as ir
from stages.openvino import library as openvino_library
from stages.openvino.format import OPENVINO
from stages.portable import native_output
from stages.portable.vendor_errors import first_line
from stages.samples import files as sample_files
from stages.samples.files import Samples

FACT = "quantization"
# Scales for each channel came with opset 13. From 21 on, onnxruntime 1.31.1 moves a QuantizeLinear past a reshape with
# an output_dtype that its own type inference then refuses (microsoft/onnxruntime#28144, #25526).
INT8_OPSETS = range(13, 21)
# Numbers of dimensions of weights without a form in ONNX and NNCF 3.4.0: a scale per column of stacked matrices.
INT8_FORMLESS: Mapping[str, Collection[int]] = {"MatMul": range(3, 9)}
# Compressed weights need no QuantizeLinear; 4 bits, and a scale for each block, came with opset 21.
BLOCKS = 21
INT8_WEIGHTS_OPSETS, INT4_OPSETS = range(13, 27), range(BLOCKS, 27)
# One-dimensional convolutions get a scale for each channel of each filter, which can be more than float32 takes; the
# columns of stacked matrices are blocks.
WEIGHTS_FORMLESS: Mapping[str, Collection[int]] = {"Conv": (3,), "ConvTranspose": (3,)}
STACKED: Mapping[str, Collection[int]] = {"MatMul": (3,)}
DEVICES = ("ANY", "CPU", "CPU_SPR", "GPU", "NPU")
GRAPHS = frozenset({OPENVINO, ONNX})
BY_KIND: Mapping[Kind, tuple[str, ...]] = {OPENVINO: ("openvino",), ONNX: ("onnx", "onnxruntime")}


@dataclass
class Feed:
    """Samples in an artifact's terms, one of the smallest batches at a time; it counts how many NNCF really used."""

    artifact: Artifact
    samples: Samples
    count: int = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        so_far = 0
        for arrays, _, count in sample_files.fed(self.artifact, self.samples, most=1):
            so_far += count
            self.count = max(self.count, so_far)
            yield dict(arrays)


class Opset(Setting):
    """The opset of an ONNX graph that is to be lowered.

    Args:
        what: The result, such as int8.
        allowed: The opsets of graphs for this result.
    """

    def __init__(self, what: str, allowed: range) -> None:
        self._what, self._allowed = what, allowed

    def problems(self, name: str, value: int) -> Iterable[Problem]:
        if value in self._allowed:
            return
        near, why = self._allowed.start, "cannot be written: its DequantizeLinear has no such scales"
        if value >= near:
            near = self._allowed.stop - 1
            why = "cannot be relied on: onnxruntime fails on some such graphs while it optimises them"
        allowed = f"opset {self._allowed.start} to {self._allowed.stop - 1}"
        yield Problem(f"{self._what} at opset {value} {why}", allowed, command=f"opset={near}")

    def check(self, graph: Artifact) -> None:
        """Raises StageError for an ONNX graph of another opset."""
        if graph.kind == ONNX:
            opset = onnx_file.opset(onnx_file.read(graph.file, weights=False))
            if wrong := list(self.problems("opset", opset)):
                raise StageError(wrong)


INT8_OPSET = Opset("int8", INT8_OPSETS)


def check_device(target_device: str, graph: Artifact) -> None:
    """Raises StageError for a device without an NNCF scheme for the graph's format."""
    if graph.kind == ONNX and target_device == "CPU_SPR":
        raise StageError(
            f"target_device is {target_device}, and NNCF has no scheme for it of ONNX graphs",
            allowed=listed(d for d in DEVICES if d != target_device),
            command="stages.quantize.target_device=CPU",
        )


def advanced(nncf: Any, graph: Artifact, symmetric: bool) -> Any:
    """Further parameters of the scheme that a format's runtimes need.

    NNCF gives each channel before a depthwise convolution a range of its own; onnxruntime's QLinearConv takes one for
    all (microsoft/onnxruntime#24518).

    Args:
        nncf: The module.
        graph: The graph to quantise.
        symmetric: Whether activations have a scale and no zero point, whatever the preset.
    """
    if graph.kind != ONNX:
        return None
    parameters = nncf.quantization.advanced_parameters.QuantizationParameters
    one_range = parameters(per_channel=False)
    if symmetric:
        scheme = nncf.quantization.advanced_parameters.QuantizationMode.SYMMETRIC
        one_range = parameters(per_channel=False, mode=scheme)
    return nncf.AdvancedQuantizationParameters(activations_quantization_params=one_range)


def attention(graph: Artifact) -> list[str]:
    """The matrix products of an ONNX graph without a weight: attention's scores, and their product with the values.

    Signed numbers have 127 steps from 0 to 1, too few for the probabilities of a long text.
    """
    model = onnx_file.read(graph.file, weights=False)
    weights = {i.name for i in model.graph.initializer}
    return [
        node.name or node.output[0]
        for node in model.graph.node
        if node.op_type == "MatMul" and not weights.intersection(node.input)
    ]


def signed(model: Any) -> Any:
    """Makes the unsigned activations of a symmetrically quantised ONNX graph signed.

    TensorRT takes no unsigned numbers. NNCF 3.4.0 gives activations that are never negative 0 to 255 on all of its
    devices: here they have the same range in 0 to 127.
    """
    from onnx import TensorProto, numpy_helper

    tensors = {i.name: i for i in model.graph.initializer}
    nodes = [n for n in model.graph.node if n.op_type.endswith("uantizeLinear")]
    unsigned = [n for n in nodes if numpy_helper.to_array(tensors[n.input[2]]).dtype == "uint8"]
    for name in dict.fromkeys(n.input[1] for n in unsigned):
        scale = numpy_helper.to_array(tensors[name])
        tensors[name].CopyFrom(numpy_helper.from_array((scale * 255 / 127).astype(scale.dtype), name))
    for name in dict.fromkeys(n.input[2] for n in unsigned):
        zero = numpy_helper.to_array(tensors[name])
        tensors[name].CopyFrom(numpy_helper.from_array(zero.astype("int8"), name))
    touched = {name for n in unsigned for name in (*n.output, n.input[2])}
    for value in (*model.graph.value_info, *model.graph.input):  # NNCF lists zero points among them
        if value.name in touched and value.type.tensor_type.elem_type == TensorProto.UINT8:
            value.type.tensor_type.elem_type = TensorProto.INT8
    return model


def scheme(nncf: Any, preset: str | None, model_type: str | None, target_device: str) -> dict[str, Any]:
    """The scheme's settings as NNCF's own types."""
    return {
        "preset": preset and nncf.QuantizationPreset(preset),
        "model_type": model_type and nncf.ModelType(model_type),
        "target_device": nncf.TargetDevice(target_device),
    }


def facts(name: str, settings: Mapping[str, Any], samples: Artifact | None) -> dict[str, Any]:
    """The facts of a lowered artifact: how it was lowered, and the samples of its ranges.

    Args:
        name: The new form of the weights, for people.
        settings: All settings for NNCF.
        samples: The calibration samples; None where there was no calibration.
    """
    lowering: dict[str, Any] = {"weights": name, "settings": dict(settings)}
    says = name
    if samples is not None:
        lowering["samples"] = {**samples.facts[sample_files.FACT], "digest": samples.digest}
        says += f", calibrated on {lowering['samples']['count']} samples: {lowering['samples']['from']}"
    return {FACT: {**lowering, "says": says}}


def formless(graph: Artifact, dimensions: Mapping[str, Collection[int]]) -> list[str]:
    """The operations of an ONNX graph whose weights have no form in few bits; none for an IR.

    Args:
        graph: The graph.
        dimensions: By type of operation, the numbers of dimensions without such a form.
    """
    if graph.kind != ONNX:
        return []
    model = onnx_file.read(graph.file, weights=False)
    ranks = {i.name: len(i.dims) for i in model.graph.initializer}
    return [
        node.name or node.output[0]
        for node in model.graph.node
        if {ranks[i] for i in node.input if i in ranks} & {*dimensions.get(node.op_type, ())}
    ]


def tied(graph: Artifact) -> list[str]:
    """The products of an ONNX graph with an embedding table: a head that shares the embedding's matrix.

    NNCF 3.4.0 treats the transposed table as a separate weight and does not find it. If the table itself is lowered,
    these products use the lowered table.
    """
    if graph.kind != ONNX:
        return []
    graph_proto = onnx_file.read(graph.file, weights=False).graph
    nodes, weights = graph_proto.node, {i.name for i in graph_proto.initializer}
    tables = {node.input[0] for node in nodes if node.op_type == "Gather"} & weights
    turned = {node.output[0] for node in nodes if node.op_type == "Transpose" and node.input[0] in tables}
    return [n.name or n.output[0] for n in nodes if n.op_type == "MatMul" and turned.intersection(n.input)]


def lowered(
    source: Artifact,
    how: Callable[[Any, Any, Any], Any],
    ignored: Ignored,
    facts: Mapping[str, Any],
    folder: Path,
    extensions: Sequence[str] = (),
    feed: Feed | None = None,
    besides: Sequence[str] = (),
) -> Artifact:
    """Lowers a graph by NNCF.

    Args:
        source: The graph.
        how: Takes the module nncf, the graph in memory and NNCF's scope of ignored operations; returns a graph.
        ignored: These operations.
        facts: Facts of the result that are known before.
        folder: The folder for its files.
        extensions: Operations that OpenVINO does not have by itself.
        feed: The samples for `how`; the facts get the number that it really used.
        besides: Further operations to ignore, which have no such form.

    Raises:
        ConfigError: When an operation to ignore does not exist.
        StageError: When NNCF fails, with its message.
    """
    names = list(dict.fromkeys([*ignored.within(graphs.read(source, extensions)), *besides]))
    model = _loaded(source, extensions)
    names_before = set() if source.kind == ONNX else _names(model)  # before NNCF runs, which may change this graph
    with _quiet() as nncf:
        scope = nncf.IgnoredScope(names=names, validate=False) if names else None
        try:
            result = how(nncf, model, scope)
        except DrydockError:
            raise
        except Exception as e:  # NNCF and what it runs raise anything
            raise StageError(f"NNCF cannot do this: {type(e).__name__}: {first_line(e)}") from e
    result_facts: dict[str, Any] = {**facts, ignored_operations.FACT: asdict(ignored)}
    if feed is not None:
        result_facts[FACT] = {**result_facts[FACT], "taken": feed.count}
    if source.kind == ONNX:
        _repair_scales(result)
        onnx_file.stamp(result, {**source.facts, **result_facts})
        onnx_file.write(result, folder)
    else:
        ir.write(result, result_facts, folder, keeping=names_before)
    aside = f"; {len(names)} operation{'s' * (len(names) > 1)} left alone" if names else ""
    return Artifact(source.kind, folder, facts=result_facts, notes={"says": result_facts[FACT]["says"] + aside})


@contextlib.contextmanager
def _quiet() -> Iterator[Any]:
    """The module nncf, with its messages and progress displays in the log."""
    openvino_library.load()
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    with native_output.to_log(errors=True):
        import nncf

        try:
            yield nncf
        finally:
            root.handlers = handlers
            root.setLevel(level)


def _loaded(source: Artifact, extensions: Sequence[str]) -> Any:
    if source.kind == ONNX:
        model = onnx_file.read(source.file)
        onnx_file.name_nodes(model)  # otherwise NNCF would, in its own way
        return model
    return openvino_library.core_with(extensions).read_model(source.file)


def _names(model: Any) -> set[str]:
    return {op.get_friendly_name() for op in model.get_ordered_ops()}


def _repair_scales(model: Any) -> None:
    """Gives each DequantizeLinear of a weight the scales and the axis that ONNX needs; onnxruntime refuses others.

    NNCF 3.4.0 writes the scales of a convolution's channels as [channels, 1, 1], where ONNX has one dimension; gives
    blocks axis 0 where Gemm's have axis 1; and writes those of stacked matrices' columns as [stack, columns], which
    ONNX only has for blocks.
    """
    from onnx import helper

    tensors = {i.name: i for i in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] not in tensors:
            continue
        attributes = {a.name: a for a in node.attribute}
        weight, parameters = tensors[node.input[0]], [tensors[n] for n in node.input[1:] if n in tensors]
        sizes = list(parameters[0].dims)
        if "block_size" in attributes:
            blocks = [size // attributes["block_size"].i for size in weight.dims]
            attributes["axis"].i = next(
                a for a, size in enumerate(sizes) if size == blocks[a] and size != weight.dims[a]
            )
        elif math.prod(sizes) > max(sizes, default=1):
            stack, rows, columns = weight.dims
            attributes["axis"].i = 1
            node.attribute.append(helper.make_attribute("block_size", rows))
            sizes = [stack, 1, columns]
        elif len(sizes) > 1:
            sizes = [max(sizes)]
        for parameter in parameters:
            parameter.dims[:] = sizes
