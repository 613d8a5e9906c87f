"""What to try where an operator diverges: other settings for the artifact, other code for the model's line."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.artifact import Artifact, Kind
from stages.checking.divergence import Divergence
from stages.formats import ignored

CAPTURES = ("export", "trace", "script")
# By operator, without namespace and trailing underscore: code that computes the same and converts.
WORDS: Mapping[str, str] = {
    "remainder": "x - n * torch.floor(x / n) for x % n",
    "round": "torch.round(x * 10 ** n) / 10 ** n for torch.round(x, decimals=n)",
    "scatter_reduce": "a sum by scatter_add, divided by the counts, for a mean by scatter_reduce",
    "upsample_nearest2d": "index_select by torch.floor(torch.arange(size) / scale) for a scale that is no whole number",
    "_pack_padded_sequence": "sequences of one length, or the layer without packing",
}
INTO_PART = "torch.where or torch.cat that makes a new tensor, instead of writing into one"
ANTIALIAS = "antialias=False, or to resize before the model"


def ways(artifact: Artifact, divergence: Divergence | None) -> str:
    """What to try, for the last line of a message: other code for the model, then settings for the command."""
    advice = settings(artifact)
    if divergence is not None and (words := _words(divergence)):
        advice = [f"in the model, {words}", *advice]
    elif divergence is not None and divergence.place and advice:
        advice = [*advice, "other operators at that line of the model"]
    return "; or ".join(advice)


def settings(artifact: Artifact) -> list[str]:
    """Settings that make the artifact by another way, where there is one."""
    origin = artifact.origin
    stage = origin.stage if origin is not None else ""
    if artifact.kind == Kind.MODULE:
        return ["target=openvino without also=torch_compile, which is compiled whole"]
    if stage == "simplify":
        return ["'~stages.simplify'"]
    changes = [] if ignored.from_facts(artifact) is None else ["a higher precision"]
    if changes and stage != "compile":  # what it was lowered from was checked
        return changes
    has_source = origin is not None and origin.source is not None
    if artifact.facts.get("capture") in CAPTURES and not (has_source and _took_the_first(artifact)):
        # Only trying shows which of the others agrees: this tries them all.
        changes.append("route=auto capture=auto" if "route" in artifact.facts else "capture=auto")
    return changes


def _took_the_first(artifact: Artifact) -> bool:
    """Whether the first capture that works made it, after all others were tried."""
    assert artifact.origin is not None
    assert artifact.origin.source is not None
    try:
        return artifact.origin.source().kind == Kind.MODULE
    except Exception:  # a source that cannot be opened says nothing
        return False


def _words(divergence: Divergence) -> str:
    name = divergence.operator.rpartition(".")[2]
    if name.endswith("_aa"):
        return ANTIALIAS
    return WORDS.get(name.rstrip("_")) or (INTO_PART if divergence.into_part else "")
