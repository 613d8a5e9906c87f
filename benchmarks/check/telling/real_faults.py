"""Faults that people reported, and the question of the check that is there for each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RealFault:
    """A fault of a converter or a runtime.

    Args:
        question: What the check asks so that it is found.
        fault: What goes wrong.
        reports: Where that was reported in public; "measured here" where no report is known.
    """

    question: str
    fault: str
    reports: tuple[str, ...]


HERE = "measured here"
REAL_FAULTS = (
    RealFault(
        "each order of two sizes: less, equal, greater",
        "torch.export keeps a guard such as `h <= w`, exporters drop it: `if h > w` is frozen as the example took it",
        ("pytorch/pytorch#146315", "pytorch/pytorch#181097"),
    ),
    RealFault(
        "one size at its largest, the others at their smallest; one short of the largest",
        "a size of the example that stays in the graph, of recurrent networks above all",
        ("pytorch/pytorch#191855", "microsoft/onnxruntime#19270", "onnx/onnx#3182"),
    ),
    RealFault(
        "odd sizes far apart",
        "windows that hang over the edge are divided by the whole kernel",
        ("apple/coremltools#2772",),
    ),
    RealFault(
        "the smallest request before the largest, on a fresh load",
        "OpenVINO 2026.4's CPU answers unmasked attention with garbage once a request of length 1 came first",
        (HERE,),
    ),
    RealFault(
        "the same twice, the example again at the end, buffers put back between questions",
        "a model that is random, or that changes its own state",
        (
            *("pytorch/pytorch#60828", "pytorch/pytorch#112491", "onnx/onnx#4855"),
            *("apple/coremltools#1726", "apple/coremltools#2639"),
        ),
    ),
    RealFault(
        "zeros, rows of zeros",
        "an epsilon is lost: 0/0, or the log of 0, for silence, black pictures, padding",
        ("openvinotoolkit/openvino#8676", "ROCm/AMDMIGraphX#2659", "apple/coremltools#2821"),
    ),
    RealFault(
        "tiny and large numbers",
        "an epsilon that grows with the largest value of a row (RMSNorm), formulas that overflow",
        ("apple/coremltools#2821",),
    ),
    RealFault(
        "negative numbers",
        "remainders of negative numbers have the sign of C or of Python; x % 1 is taken for x",
        ("apple/coremltools#2836", "microsoft/onnxruntime#28808", "kasper0406/stablehlo-coreml#70"),
    ),
    RealFault(
        "ties",
        "the order of equal scores under TopK, NMS and argmax is another; compared as ties where the model ties",
        (HERE,),
    ),
    RealFault(
        "integers at both ends of their range, and running through it",
        "64-bit integers are computed in float32: ids and time stamps come out wrong",
        (
            *("openvinotoolkit/openvino#35823", "openvinotoolkit/openvino#35825"),
            *("openvinotoolkit/openvino#35890", "openvinotoolkit/openvino#37957"),
        ),
    ),
    RealFault(
        "ids of 0, and of rows of a table that no draw looks up",
        "the mask of a padding id is dropped, a row of a table is lost",
        (HERE,),
    ),
    RealFault(
        "masks with a row all off",
        "PyTorch answers 0 for it, exported graphs the mean, or NaN",
        ("microsoft/onnxscript#2479", "pytorch/pytorch#103749"),
    ),
    RealFault(
        "masks with holes, padded left, the first token only",
        "a mask that is taken for a length, or a fill of it that is not low enough",
        (HERE,),
    ),
    RealFault(
        "one number of a row far out, at the longest rows; numbers three times as far as drawn",
        "limits that ordinary numbers never reach are lost: a clamp, a Relu6, a clipped score",
        (HERE,),
    ),
    RealFault(
        "rows of a table that no question looks up, number by number",
        "a row of an embedding is lost or rounded on the way",
        (HERE,),
    ),
    RealFault(
        "inputs of the user's own",
        "what only real data shows: the numbers that the model was trained on",
        (HERE,),
    ),
    RealFault(
        "what the YAML draws, at every size",
        "smoothing before a resize is left out: every picture comes out otherwise",
        ("pytorch/pytorch#177138", "pytorch/pytorch#183546"),
    ),
)


def table() -> list[str]:
    lines = ["| asked | because | reported as |", "| --- | --- | --- |"]
    return lines + [f"| {f.question} | {f.fault} | {', '.join(f.reports)} |" for f in REAL_FAULTS]
