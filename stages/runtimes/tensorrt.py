"""A TensorRT engine, executed on the GPU that it was built for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from pipeline.artifact import Artifact
from stages import _trt
from stages._trt_cuda import open_cuda
from stages._trt_run import Engine
from stages.runtimes import session
from stages.runtimes.session import How

if TYPE_CHECKING:
    from stages.runtimes.session import Arrays

REQUIRES = ("tensorrt", "torch", "numpy")

log = logging.getLogger(__name__)


class TensorrtSession:
    """An engine that was held to its card and loaded. It computes in the types of the graph that it was built of."""

    def __init__(self, artifact: Artifact) -> None:
        with _trt.failures():
            self._engine = Engine(artifact.file, open_cuda(), log.info)
        self.computes_in = self._engine.computes_in
        self.properties = self._engine.properties

    def __call__(self, inputs: Arrays) -> Arrays:
        with _trt.failures():
            return self._engine(inputs)

    def prepare(self, inputs: Arrays) -> Callable[[], object]:
        with _trt.failures():
            infer = self._engine.prepare(inputs)

        def once() -> None:
            with _trt.failures():
                infer()

        return once


def open_session(artifact: Artifact, how: How) -> TensorrtSession:
    """Loads an engine. Raises BackendMissing where it is not for this host, StageError and CheckFailed.

    Threads make no difference to a GPU; TensorRT has no settings that are given when an engine is loaded.
    """
    session.without_settings(how, "TensorRT")
    return TensorrtSession(artifact)
