"""The base of stages that lower a graph by NNCF: settings, and quantisation to int8 by either of two functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Optional

from pipeline.artifact import Artifact, Kind
from pipeline.stage import OneOf, SameKindAs, Stage, Unkeyed
from stages.formats.extensions import Extensions
from stages.formats.ignored import Ignored
from stages.frameworks.format import FILE
from stages.onnx.format import ONNX
from stages.quantization import nncf as nncf_library
from stages.quantization.nncf import Feed
from stages.samples import files as sample_files


class Lowering(Stage):
    """A stage that lowers a graph."""

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "graph": nncf_library.GRAPHS,
        "samples": frozenset({Kind.SAMPLES}),
    }
    produces: ClassVar[Kind | str | SameKindAs] = SameKindAs("graph")
    requires: ClassVar[tuple[str, ...]] = ("nncf", "numpy", "safetensors")
    isolable: ClassVar[bool] = True

    def modules(self, kinds: Mapping[str, Kind]) -> tuple[str, ...]:
        return (*super().modules(kinds), *nncf_library.BY_KIND.get(kinds.get("graph", FILE), ()))


@dataclass(frozen=True)
class Int8(Lowering):
    """A stage that quantises weights and activations to 8 bits.

    Args:
        preset: performance (activations symmetric) or mixed (asymmetric); None for mixed in transformers, otherwise
            performance.
        model_type: transformer for a quantisation scheme that keeps attention accurate; None for others.
        target_device: The device of the scheme: ANY, CPU, CPU_SPR, GPU or NPU.
        fast_bias_correction: True for the quick method; False for the accurate one, which takes minutes.
        symmetric: For an ONNX graph, whether activations are signed numbers with a scale only, for every preset; in a
            transformer, attention's products then do not change.
        ignored: Operations that do not change.
        extensions: Operations that OpenVINO does not have by itself; see compile_openvino.
        graph_opset: The opset that an ONNX graph will have, so that a wrong one is refused before any work.
    """

    # OmegaConf 2.3 reads Optional, not X | None.
    preset: Annotated[Optional[str], OneOf(("performance", "mixed"), "performance, mixed, null")]
    model_type: Annotated[Optional[str], OneOf(("transformer",), "transformer, null")]
    target_device: Annotated[str, OneOf(nncf_library.DEVICES)]
    fast_bias_correction: bool
    symmetric: bool
    ignored: Ignored
    extensions: Annotated[list[str], Extensions()]
    graph_opset: Annotated[Optional[int], Unkeyed(), nncf_library.INT8_OPSET]

    def feed(self, inputs: Mapping[str, Artifact]) -> Feed:
        """The samples in the graph's own terms. Raises StageError for a graph that cannot be quantised like this."""
        graph = inputs["graph"]
        nncf_library.INT8_OPSET.check(graph)
        nncf_library.check_device(self.target_device, graph)
        return Feed(graph, sample_files.read(inputs["samples"]))

    def quantized(
        self,
        quantize: Callable[..., Any],
        inputs: Mapping[str, Artifact],
        feed: Feed,
        settings: Mapping[str, Any],
        folder: Path,
    ) -> Artifact:
        """The graph in 8 bits.

        Args:
            quantize: Takes nncf, a model, advanced parameters, and by name the common arguments of nncf's functions.
            inputs: The graph and the samples.
            feed: See `feed`.
            settings: The settings, for the facts.
            folder: The folder for the result.
        """
        source = inputs["graph"]
        is_signed = self.symmetric and source.kind == ONNX

        def lower(nncf: Any, model: Any, scope: Any) -> Any:
            how = nncf_library.scheme(nncf, self.preset, self.model_type, self.target_device)
            how |= {"fast_bias_correction": self.fast_bias_correction, "subset_size": len(feed.samples)}
            advanced = nncf_library.advanced(nncf, source, self.symmetric)
            lowered = quantize(nncf, model, advanced, ignored_scope=scope, **how)
            return nncf_library.signed(lowered) if is_signed else lowered

        besides = nncf_library.formless(source, nncf_library.INT8_FORMLESS)
        if is_signed and self.model_type == "transformer":
            besides += nncf_library.attention(source)
        facts = nncf_library.facts("int8", settings, inputs["samples"])
        return nncf_library.lowered(source, lower, self.ignored, facts, folder, self.extensions, feed, besides)
