"""What to try where an operator diverges: another way for the artifact, and other words for the model's line."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.artifact import Artifact, Kind
from stages.checking.divergence import Divergence
from stages.formats import ignored
from stages.onnx.format import ONNX

# The lowest opset of the exporter that takes programs of torch.export.
EXPORTED_FROM = 18
OTHER = {"export": "trace", "trace": "export", "script": "trace"}
# By the operator's name without what comes before and after it: how to say the same in other words.
WORDS: Mapping[str, str] = {
    "remainder": "x - n * torch.floor(x / n) for x % n",
    "fmod": "x - n * torch.trunc(x / n)",
    "floor_divide": "torch.floor(x / n)",
    "index_put": "indices from 0 up (i % size), or torch.where and torch.cat instead of writing into a tensor",
    "index_add": "a product with one_hot(index)",
    "scatter_reduce": "the sum by scatter_add, divided by the counts",
    "conv_transpose2d": "output_padding=0, and F.pad behind it",
    "grid_sampler": "align_corners=True, or bilinear instead of bicubic",
    "lstm": "sequences of one length, without pack_padded_sequence",
    "gru": "sequences of one length, without pack_padded_sequence",
    "scaled_dot_product_attention": "softmax(q @ k.transpose(-2, -1) * scale + mask) @ v",
    "rms_norm": "x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight",
    "instance_norm": "nn.GroupNorm(channels, channels)",
    "cumsum": "a product with a triangular matrix of ones",
    "nan_to_num": "torch.where(x == x, x, 0)",
    "bitwise_right_shift": "x // 2 ** n",
    "bitwise_left_shift": "x * 2 ** n",
    "round": "torch.floor(x + 0.5) where halves may go up",
}
# Operators that write into a tensor end so.
IN_PLACE = "torch.where or torch.cat that makes a new tensor, instead of writing into one"
ANTIALIAS = "antialias=False, or to resize before the model"


def ways(artifact: Artifact, found: Divergence | None) -> str:
    """What to try, as the last line of a message has it: settings to add to the command, then words for the model."""
    words = _words(found.operator) if found is not None else ""
    return ", or ".join([*([f"in the model {words}"] if words else []), *settings(artifact)])


def settings(artifact: Artifact) -> list[str]:
    """Settings that make the artifact by another way, where there is one."""
    facts, stage = artifact.facts, artifact.origin.stage if artifact.origin is not None else ""
    if artifact.kind == Kind.MODULE:
        return ["target=openvino without also=torch_compile: what is compiled whole"]
    if stage == "simplify":
        return ["'~stages.simplify'"]
    route, capture = facts.get("route"), str(facts.get("capture", ""))
    told = [] if ignored.of(artifact) is None else ["a higher precision"]
    if told and stage != "compile":  # what it was lowered from was checked
        return told
    if route == "direct":
        told.append("route=onnx")
    elif route == str(ONNX) and capture:
        told.append("route=direct")
    if capture in OTHER:
        low = artifact.kind == ONNX and int(facts.get("opset") or EXPORTED_FROM) < EXPORTED_FROM
        opset = f" opset={EXPORTED_FROM}" if low and OTHER[capture] == "export" else ""
        told.append(f"capture={OTHER[capture]}{opset}")
    return told


def _words(operator: str) -> str:
    name = operator.rpartition(".")[2]
    if name.endswith("_aa"):
        return ANTIALIAS
    return WORDS.get(name.rstrip("_")) or (IN_PLACE if name.endswith("_") else "")
