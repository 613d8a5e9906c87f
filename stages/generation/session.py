"""A folder as a session, for timing: generating one text is one inference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pipeline.artifact import Artifact
from stages.formats.session import How
from stages.generation import folders

if TYPE_CHECKING:
    from stages.formats.session import Arrays

REQUIRES = ("numpy",)  # and the modules that the folder's format requires


class Texts:
    """A loaded folder; see `stages.formats.session.Session`."""

    def __init__(self, artifact: Artifact, how: How) -> None:
        self._running = folders.format_part(artifact).open_generator(artifact, how, ours=False)
        self.computes_in = self._running.computes_in
        self.properties: Mapping[str, str] = dict(self._running.properties)

    def prepare(self, inputs: Arrays) -> Callable[[], object]:
        """Continues `prompts`, int64 [rows, tokens], by `new` tokens, int64 [1]."""
        prompts, new = inputs["prompts"].tolist(), int(inputs["new"][0])
        return lambda: self._running(prompts, new)


def open_session(artifact: Artifact, how: How) -> Texts:
    """Loads a folder. Raises as the format's `open_generator` does."""
    return Texts(artifact, how)
