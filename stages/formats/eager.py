"""A module, run by PyTorch operator by operator: the baseline that other runtimes are compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Artifact
from stages.formats import session
from stages.formats.session import How
from stages.interface import call
from stages.interface.interface import Interface

if TYPE_CHECKING:
    from stages.formats.session import Arrays

REQUIRES = ("torch", "numpy")


class ModuleSession:
    """A module, called as its interface says. It computes in its own types."""

    def __init__(self, artifact: Artifact, threads: int | None) -> None:
        import torch

        interface = Interface.read(artifact)
        self._outputs = list(interface.outputs)
        self._bound = call.bind(artifact.live, interface)
        self._ready = self._bound
        if threads is not None:
            torch.set_num_threads(threads)

    @property
    def computes_in(self) -> str:
        weights = (p.dtype for p in self._bound.parameters() if p.dtype.is_floating_point)
        return str(next(weights, "torch.float32")).removeprefix("torch.")

    @property
    def properties(self) -> Mapping[str, str]:
        import torch

        return {"num_threads": str(torch.get_num_threads())}

    def __call__(self, inputs: Arrays) -> Arrays:
        answers = self._infer(_tensors(inputs))
        return {n: t.numpy().copy() for n, t in zip(self._outputs, answers, strict=True)}

    def prepare(self, inputs: Arrays) -> Callable[[], object]:
        tensors = _tensors(inputs)
        return lambda: self._infer(tensors)

    def _infer(self, tensors: list[Any]) -> tuple[Any, ...]:
        import torch

        with torch.inference_mode():
            answers: tuple[Any, ...] = self._ready(*tensors)
        return answers


def _tensors(inputs: Arrays) -> list[Any]:
    """Copies: a model that writes into its input must not change the caller's arrays."""
    import torch

    return [torch.from_numpy(v.copy()) for v in inputs.values()]


def open_session(artifact: Artifact, how: How) -> ModuleSession:
    """A module in memory. Raises StageError for any property: it has none."""
    return ModuleSession(artifact, session.without_settings(how, "eager PyTorch").threads)
