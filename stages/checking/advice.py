"""What to try where an operator diverges: another way for the artifact, and other words for the model's line."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.artifact import Artifact, Kind
from stages.checking.divergence import Divergence
from stages.formats import ignored

CAPTURES = ("export", "trace", "script")
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
INTO_PART = "torch.where or torch.cat that makes a new tensor, instead of writing into one"
ANTIALIAS = "antialias=False, or to resize before the model"


def ways(artifact: Artifact, found: Divergence | None) -> str:
    """What to try, as the last line of a message has it: other words for the model, then settings for the command."""
    told = settings(artifact)
    if found is not None and (words := _words(found)):
        told = [f"in the model, {words}", *told]
    elif found is not None and found.place and told:
        told = [*told, "other operators at that line of the model"]
    return "; or ".join(told)


def settings(artifact: Artifact) -> list[str]:
    """Settings that make the artifact by another way, where there is one."""
    origin = artifact.origin
    stage = origin.stage if origin is not None else ""
    if artifact.kind == Kind.MODULE:
        return ["target=openvino without also=torch_compile, which is compiled whole"]
    if stage == "simplify":
        return ["'~stages.simplify'"]
    told = [] if ignored.of(artifact) is None else ["a higher precision"]
    if told and stage != "compile":  # what it was lowered from was checked
        return told
    has_source = origin is not None and origin.source is not None
    if artifact.facts.get("capture") in CAPTURES and not (has_source and _took_the_first(artifact)):
        # Which of the others agrees, only a try tells: this tries them all.
        told.append("route=auto capture=auto" if "route" in artifact.facts else "capture=auto")
    return told


def _took_the_first(artifact: Artifact) -> bool:
    """Whether it was made by the first capture that serves, after all others had been tried."""
    assert artifact.origin is not None
    assert artifact.origin.source is not None
    try:
        return artifact.origin.source().kind == Kind.MODULE
    except Exception:  # what cannot be opened, nobody can say
        return False


def _words(found: Divergence) -> str:
    name = found.operator.rpartition(".")[2]
    if name.endswith("_aa"):
        return ANTIALIAS
    return WORDS.get(name.rstrip("_")) or (INTO_PART if found.into_part else "")
