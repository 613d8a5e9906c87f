"""What to try where an operator diverges: another way for the artifact, and other words for the model's line."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.artifact import Artifact, Kind
from stages.checking.divergence import Divergence
from stages.formats import ignored

CAPTURES = ("export", "trace", "script")
# By the operator, without its namespace and the underscore of those that write: what says the same and converts.
WORDS: Mapping[str, str] = {
    "remainder": "x - n * torch.floor(x / n) for x % n",
    "round": "torch.round(x * 10 ** n) / 10 ** n for torch.round(x, decimals=n)",
    "scatter_reduce": "a sum by scatter_add, divided by the counts, for a mean by scatter_reduce",
    "upsample_nearest2d": "index_select by torch.floor(torch.arange(size) / scale) for a scale that is no whole number",
    "_pack_padded_sequence": "sequences of one length, or the layer without packing",
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
    told = [] if ignored.from_facts(artifact) is None else ["a higher precision"]
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
