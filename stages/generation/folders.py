"""What a format offers that has folders for a runtime of language models: the part that it calls `generation`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, cast

from pipeline import formats
from pipeline.artifact import Artifact
from stages.formats.session import How
from stages.portable.generating import Decoder, Rows, Text


class Generator(Protocol):
    """A folder that is loaded.

    Attributes:
        says: What runs it, such as "onnxruntime-genai 0.18.0".
        by_ours: Why it is not the runtime that the folder is for, but our own loop over its graph; empty where it is.
        computes_in: What the graph computes in, read back.
        properties: The runtime's settings as read back from the compiled graph, by its own names.

    Our own loops may have `logits` too: of the last row of the last call, [vocabulary] at each step.
    """

    says: str
    by_ours: str
    computes_in: str
    properties: Mapping[str, str]

    def __call__(self, prompts: Rows, new: int) -> list[list[int]]:
        """What follows each prompt, at most `new` tokens, by the largest logit alone. Raises what the runtime does."""

    def unfit(self, prompts: Rows, new: int) -> str:
        """Why the runtime does not take prompts together that the model takes; empty where it does."""

    def tokenized(self, texts: Sequence[Text]) -> list[list[int]] | None:
        """The tokens of texts, by the folder's own tokenizer; None where it has none."""


class Loop(Generator, Decoder, Protocol):
    """A folder whose graph is run by our own loop: it is asked for logits, too."""


class Folders(Protocol):
    """The part `generation` of a format."""

    REQUIRES: tuple[str, ...]  # the runtime's modules

    def open_generator(self, artifact: Artifact, how: How, *, ours: bool) -> Generator:
        """Loads a folder.

        Args:
            artifact: The folder.
            how: How it is run.
            ours: Whether our own loop takes the runtime's place in any case.

        Raises StageError for a setting, CheckFailed where it is not loaded, or a property reads back otherwise.
        """


def loop(artifact: Artifact, how: How) -> Loop:
    """A folder's graph, to be asked piece by piece. Raises as `open_generator` does."""
    return cast("Loop", of(artifact).open_generator(artifact, how, ours=True))


def of(artifact: Artifact) -> Folders:
    """What the format of an artifact offers. Raises StageError where it has no such folders."""
    return cast("Folders", formats.part(artifact.kind, "generation"))
