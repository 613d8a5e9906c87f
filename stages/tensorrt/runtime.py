"""Runs a TensorRT engine on the GPU that it was built for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from pipeline.artifact import Artifact
from stages.formats import session
from stages.formats.session import How
from stages.tensorrt import failures
from stages.tensorrt.host.cuda import open_cuda
from stages.tensorrt.host.run import Engine

if TYPE_CHECKING:
    from stages.formats.session import Arrays

REQUIRES = ("tensorrt", "torch", "numpy")

log = logging.getLogger(__name__)


class TensorrtSession:
    """A loaded engine, verified against its card. It computes in the types of the graph that it was built from."""

    def __init__(self, artifact: Artifact) -> None:
        with failures.failures():
            self._engine = Engine(artifact.file, open_cuda(), log.info)
        self.computes_in = self._engine.computes_in
        self.properties = self._engine.properties

    def __call__(self, inputs: Arrays) -> Arrays:
        with failures.failures():
            return self._engine(inputs)

    def prepare(self, inputs: Arrays) -> Callable[[], object]:
        with failures.failures():
            infer = self._engine.prepare(inputs)

        def once() -> None:
            with failures.failures():
                infer()

        return once


def open_session(artifact: Artifact, how: How) -> TensorrtSession:
    """Loads an engine. Raises BackendMissing where it is not for this host, StageError and CheckFailed.

    Threads make no difference to a GPU; TensorRT has no settings for loading an engine.
    """
    session.without_settings(how, "TensorRT")
    return TensorrtSession(artifact)
