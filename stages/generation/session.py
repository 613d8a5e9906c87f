"""A folder as a session: a text is one inference, for whoever times it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pipeline.artifact import Artifact
from stages.formats.session import How
from stages.generation import folders

if TYPE_CHECKING:
    from stages.formats.session import Arrays

REQUIRES = ("numpy",)  # and what the folder's format says of its runtime


class Texts:
    """A folder that is loaded; see `stages.formats.session.Session`."""

    def __init__(self, artifact: Artifact, how: How) -> None:
        self._running = folders.of(artifact).open_generator(artifact, how, ours=False)
        self.computes_in = self._running.computes_in
        self.properties: Mapping[str, str] = dict(self._running.properties)

    def prepare(self, inputs: Arrays) -> Callable[[], object]:
        """Goes on with `prompts`, int64 [rows, tokens], by `new`, int64 [1], tokens."""
        prompts, new = inputs["prompts"].tolist(), int(inputs["new"][0])
        return lambda: self._running(prompts, new)


def open_session(artifact: Artifact, how: How) -> Texts:
    """Loads a folder. Raises as the format's `open_generator` does."""
    return Texts(artifact, how)
