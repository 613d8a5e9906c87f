"""Stores weights in 8 or 4 bits; what is computed with stays as it was."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Optional

from pipeline.artifact import Artifact
from pipeline.errors import Problem, StageError, listed
from pipeline.stage import AtLeast, Between, OneOf, Unkeyed
from stages.formats.extensions import Extensions
from stages.formats.ignored import Ignored
from stages.onnx import file as onnx_file
from stages.onnx.format import ONNX
from stages.quantization import nncf as nncf_library
from stages.quantization.nncf import Feed, Opset
from stages.quantization.settings import Lowering
from stages.samples import files as sample_files

MODES = ("int8_asym", "int8_sym", "int4_asym", "int4_sym")
BLOCKS = ("group_size", "ratio", "all_layers")  # settings of 4 bits alone


class GroupSize(AtLeast):
    """A number of weights, or -1."""

    def has(self, value: float) -> bool:
        return value == -1 or super().has(value)


@dataclass(frozen=True)
class CompressWeights(Lowering):
    """nncf.compress_weights: a graph that gives its weights their values back while it runs.

    Convolutions have no 4-bit form: where 4 bits are asked for they are stored in 8.

    Args:
        mode: int8_asym, int8_sym, int4_asym, int4_sym: whole numbers with or without a zero point.
        group_size: Of 4 bits, how many weights of a row share a scale; -1 for the whole row. None for 8 bits, which
            have one for each row.
        ratio: Of 4 bits, the share of the layers that may have them, in 0..1; those that lose most stay in 8. None for
            8 bits.
        all_layers: Of 4 bits, whether the last layer and embeddings may have them too; None for 8 bits.
        awq: Whether weights are scaled by how large activations are before they are rounded; takes samples.
        scale_estimation: Whether scales are fitted to what layers answer; takes samples.
        ignored: Operations whose weights are left as they are.
        extensions: Operations that OpenVINO does not have by itself; see compile_openvino.
        graph_opset: Of an ONNX graph, the opset that it will have, so that a wrong one is refused before any work.

    Source: https://docs.openvino.ai/2026/openvino-workflow/model-optimization-guide/weight-compression.html
    """

    mode: Annotated[str, OneOf(MODES)]
    group_size: Annotated[Optional[int], GroupSize(2, "2 or more; -1 for whole rows")]
    ratio: Annotated[Optional[float], Between(0, 1, "a share from 0 to 1")]
    all_layers: Optional[bool]
    awq: bool
    scale_estimation: bool
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
        self._opset.hold(source)
        feed = self._feed(inputs)

        def compressed(nncf: Any, model: Any, scope: Any) -> Any:
            try:
                return nncf.compress_weights(
                    model,
                    mode=nncf.CompressWeightsMode(self.mode),
                    group_size=self.group_size,
                    ratio=self.ratio,
                    all_layers=self.all_layers,
                    ignored_scope=scope,
                    **({} if feed is None else self._fitted(nncf, feed)),
                )
            except nncf.InvalidGroupSizeError as e:
                raise self._indivisible(e) from e

        settings = {n: v for n, v in asdict(self).items() if n not in ("ignored", "extensions", "graph_opset")}
        facts = nncf_library.facts(f"{self.mode} weights", settings, inputs["samples"] if feed else None)
        besides = self._formless(source)
        return nncf_library.lowered(source, compressed, self.ignored, facts, folder, self.extensions, feed, besides)

    def _formless(self, source: Artifact) -> list[str]:
        if source.kind != ONNX:
            return []
        opset = onnx_file.opset(onnx_file.read(source.file, weights=False))
        stacked = nncf_library.STACKED if opset < nncf_library.BLOCKS else {}
        return nncf_library.formless(source, {**nncf_library.WEIGHTS_FORMLESS, **stacked}) + nncf_library.tied(source)

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
        told = {"awq": self.awq, "scale_estimation": self.scale_estimation}
        return {**told, "dataset": nncf.Dataset(feed), "subset_size": len(feed.samples)}
