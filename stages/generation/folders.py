"""The part `generation` of a format that has folders for a runtime of language models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, cast

from pipeline import formats
from pipeline.artifact import Artifact
from stages.formats.session import How
from stages.portable.generating import Decoder, Rows, Text


class Generator(Protocol):
    """A loaded folder.

    Attributes:
        says: The runtime, such as "onnxruntime-genai 0.18.0".
        by_ours: Why our own loop runs the graph instead of the folder's runtime; empty where the runtime does.
        computes_in: The type that the graph computes in, read back.
        properties: The runtime's settings as read back from the compiled graph, by its own names.

    Our own loops may have `logits` too: of the last row of the last call, [vocabulary] at each step.
    """

    says: str
    by_ours: str
    computes_in: str
    properties: Mapping[str, str]

    def __call__(self, prompts: Rows, new: int) -> list[list[int]]:
        """The continuation of each prompt, at most `new` tokens, by the largest logit. Raises the runtime's errors."""

    def unfit(self, prompts: Rows, new: int) -> str:
        """Why the runtime cannot take these prompts together, although the model can; empty where it can."""

    def tokenized(self, texts: Sequence[Text]) -> list[list[int]] | None:
        """The tokens of texts, by the folder's own tokenizer; None where it has none."""


class Loop(Generator, Decoder, Protocol):
    """A folder whose graph is run by our own loop, which also gives logits."""


class Folders(Protocol):
    """The part `generation` of a format."""

    REQUIRES: tuple[str, ...]  # the runtime's modules

    def open_generator(self, artifact: Artifact, how: How, *, ours: bool) -> Generator:
        """Loads a folder.

        Args:
            artifact: The folder.
            how: How it is run.
            ours: Whether our own loop replaces the runtime in any case.

        Raises StageError for a wrong setting, CheckFailed where loading fails or a property reads back differently.
        """


def loop(artifact: Artifact, how: How) -> Loop:
    """A folder's graph, to run step by step. Raises as `open_generator` does."""
    return cast("Loop", format_part(artifact).open_generator(artifact, how, ours=True))


def format_part(artifact: Artifact) -> Folders:
    """The part `generation` of an artifact's format. Raises StageError where it has none."""
    return cast("Folders", formats.part(artifact.kind, "generation"))
