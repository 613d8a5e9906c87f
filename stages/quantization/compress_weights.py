"""Stores weights in 8 or 4 bits; the type of the computation does not change."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Optional

from pipeline.artifact import Artifact
from pipeline.errors import Problem, StageError, listed
from pipeline.stage import AtLeast, Between, OneOf, Unkeyed
from stages.formats import graphs
from stages.formats.extensions import Extensions
from stages.formats.graphs import NodeGraph
from stages.formats.ignored import Ignored
from stages.onnx import file as onnx_file
from stages.onnx.format import ONNX
from stages.quantization import nncf as nncf_library
from stages.quantization.nncf import Feed, Opset
from stages.quantization.settings import Lowering
from stages.samples import files as sample_files

LOGITS = "logits"  # the output of a language model's head
MODES = ("int8_asym", "int8_sym", "int4_asym", "int4_sym")
FLOAT = "float32"
CHOICES = OneOf(("int4", "int8", FLOAT), "int4, int8, float32; null for what the mode has")
BLOCKS = ("group_size", "ratio", "all_layers")  # settings of 4 bits alone


class GroupSize(AtLeast):
    """A number of weights, or -1."""

    def has(self, value: float) -> bool:
        return value == -1 or super().has(value)


@dataclass(frozen=True)
class CompressWeights(Lowering):
    """nncf.compress_weights: the graph restores the values of its weights while it runs.

    Convolutions have no 4-bit form: in modes of 4 bits they are stored in 8.

    Args:
        mode: int8_asym, int8_sym, int4_asym, int4_sym: integers with or without a zero point.
        group_size: For 4 bits, how many weights of a row share a scale; -1 for the whole row. None for 8 bits, which
            have one scale for each row.
        ratio: For 4 bits, the share of the layers that may have them, in 0..1; the most sensitive ones stay in 8. None
            for 8 bits.
        all_layers: For 4 bits, whether the last layer and embeddings may have them too; None for 8 bits.
        awq: Whether weights are scaled by the size of activations before rounding; takes samples.
        scale_estimation: Whether scales are fitted to the outputs of layers; takes samples.
        embeddings: The type of embedding tables: int4, int8, or float32 for no change; None for that of the mode and
            all_layers.
        head: The type of the operation that gives the logits, or the first output: int4, int8, float32 or None. A head
            that shares the embedding's matrix has the embedding's type.
        ignored: Operations whose weights do not change.
        extensions: Operations that OpenVINO does not have by itself; see compile_openvino.
        graph_opset: The opset that an ONNX graph will have, so that a wrong one is refused before any work.

    Source: https://docs.openvino.ai/2026/openvino-workflow/model-optimization-guide/weight-compression.html
    """

    mode: Annotated[str, OneOf(MODES)]
    group_size: Annotated[Optional[int], GroupSize(2, "2 or more; -1 for whole rows")]
    ratio: Annotated[Optional[float], Between(0, 1, "a share from 0 to 1")]
    all_layers: Optional[bool]
    awq: bool
    scale_estimation: bool
    embeddings: Annotated[Optional[str], CHOICES]
    head: Annotated[Optional[str], CHOICES]
    ignored: Ignored
    extensions: Annotated[list[str], Extensions()]
    graph_opset: Annotated[Optional[int], Unkeyed()]

    optional: ClassVar[frozenset[str]] = frozenset({"samples"})

    def conflicts(self) -> Iterator[Problem]:
        yield from self._opset.problems("graph_opset", self.graph_opset) if self.graph_opset is not None else ()
        if not self._in_blocks:
            yield from self.useless(BLOCKS, f"{self.mode} has one scale for each row")
            for name in (name for name in ("awq", "scale_estimation") if getattr(self, name)):
                yield Problem(f"{name} is true, and {self.mode} has nothing to fit", "false; or int4_asym, int4_sym")
            for name in (name for name in ("embeddings", "head") if getattr(self, name) == "int4"):
                yield Problem(f"{name} is int4, and mode is {self.mode}", "int8, float32, or a mode of int4")
        for name in (name for name in BLOCKS if self._in_blocks and getattr(self, name) is None):
            yield Problem(f"{name} is not set", allowed="see the stage's YAML")

    @property
    def _in_blocks(self) -> bool:
        return self.mode.startswith("int4")

    @property
    def _opset(self) -> Opset:
        allowed = nncf_library.INT4_OPSETS if self._in_blocks else nncf_library.INT8_WEIGHTS_OPSETS
        return Opset(f"{self.mode} weights", allowed)

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        source = inputs["graph"]
        self._opset.check(source)
        feed = self._feed(inputs)
        built = graphs.read(source, self.extensions) if self.embeddings or self.head else NodeGraph({})
        parts = self._parts(built)
        eight = [name for name, bits in parts.items() if bits == "int8"] if self._in_blocks else []
        tied = nncf_library.tied(source)
        others = [n for n, node in built.nodes.items() if node.type != graphs.CONSTANT and n not in {*eight} - {*tied}]

        def compressed(nncf: Any, model: Any, scope: Any) -> Any:
            if eight:
                model = self._in_eight(nncf, model, others)
            if eight or tied:
                scope = nncf.IgnoredScope(names=[*(scope.names if scope else ()), *eight, *tied], validate=False)
            try:
                return nncf.compress_weights(
                    model,
                    mode=nncf.CompressWeightsMode(self.mode),
                    group_size=self.group_size,
                    ratio=self.ratio,
                    all_layers=True if parts and self._in_blocks else self.all_layers,
                    ignored_scope=scope,
                    **({} if feed is None else self._fitted(nncf, feed)),
                )
            except nncf.InvalidGroupSizeError as e:
                raise self._indivisible(e) from e

        settings = {n: v for n, v in asdict(self).items() if n not in ("ignored", "extensions", "graph_opset")}
        facts = nncf_library.facts(f"{self.mode} weights", settings, inputs["samples"] if feed else None)
        besides = self._formless(source)
        unchanged = [name for name, bits in parts.items() if bits == FLOAT]
        ignored = replace(self.ignored, names=[*self.ignored.names, *unchanged])
        return nncf_library.lowered(source, compressed, ignored, facts, folder, self.extensions, feed, besides)

    def _parts(self, built: NodeGraph) -> dict[str, str]:
        """The types of embeddings and head, by the names of their operations; empty where they are not set.

        Raises StageError where there is no such part, or one matrix would have two types.
        """
        if not (self.embeddings or self.head):
            return {}
        usual = "int4" if self.all_layers or not self._in_blocks else "int8"
        tables = [name for name in built.holding(graphs.FLOATS) if built.nodes[name].type in graphs.LOOKED_UP]
        output = LOGITS if LOGITS in built.outputs else next(iter(built.outputs), "")
        head = built.head(output)
        if (self.embeddings and not tables) or (self.head and head is None):
            part = "embeddings" if self.embeddings and not tables else "head"
            raise StageError(
                f"{part} is {getattr(self, part)}, and this graph has none",
                allowed="null",
                command=f"stages.quantize.{part}=null",
            )
        parts = dict.fromkeys(tables, self.embeddings or usual)
        if head is not None:
            tied = [name for name in tables if built.shares_weights(name, head)]
            chosen = self.head or (parts[tied[0]] if tied else usual)
            if tied and chosen != parts[tied[0]]:
                if self.embeddings:
                    raise StageError(
                        f"head is {self.head} and embeddings is {self.embeddings}, and the two are one matrix",
                        allowed="the same for both",
                        command=f"stages.quantize.head={self.embeddings}",
                    )
                parts |= dict.fromkeys(tied, chosen)
            parts[head] = chosen
        return parts

    def _in_eight(self, nncf: Any, model: Any, others: list[str]) -> Any:
        """The graph with all but some operations in 8 bits."""
        mode = nncf.CompressWeightsMode(self.mode.replace("int4", "int8"))
        scope = nncf.IgnoredScope(names=others, validate=False)
        return nncf.compress_weights(model, mode=mode, ignored_scope=scope)

    def _formless(self, source: Artifact) -> list[str]:
        if source.kind != ONNX:
            return []
        opset = onnx_file.opset(onnx_file.read(source.file, weights=False))
        stacked = nncf_library.STACKED if opset < nncf_library.BLOCKS else {}
        return nncf_library.formless(source, {**nncf_library.WEIGHTS_FORMLESS, **stacked})

    def _feed(self, inputs: Mapping[str, Artifact]) -> Feed | None:
        if not (self.awq or self.scale_estimation):
            return None
        if "samples" not in inputs:
            raise StageError(
                "awq and scale_estimation fit to samples, and no stage before this one draws any",
                command="+stage@stages.calibration=draw_samples 'stages.quantize.needs=[calibration]'",
            )
        return Feed(inputs["graph"], sample_files.read(inputs["samples"]))

    def _indivisible(self, error: Exception) -> StageError:
        rows = sorted({int(size) for size in re.findall(r"channel size: (\d+)", str(error))})
        return StageError(
            f"group_size is {self.group_size}, and this graph has rows of {listed(map(str, rows))} weights",
            allowed=f"what divides {math.gcd(*rows)}; -1 for whole rows",
            command="stages.quantize.group_size=-1, or these layers in ignored",
        )

    def _fitted(self, nncf: Any, feed: Feed) -> dict[str, Any]:
        options = {"awq": self.awq, "scale_estimation": self.scale_estimation}
        return {**options, "dataset": nncf.Dataset(feed), "subset_size": len(feed.samples)}
