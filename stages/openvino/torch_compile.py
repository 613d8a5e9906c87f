"""Runs a module with torch.compile(backend="openvino"), for people who stay in PyTorch.

Source: https://docs.openvino.ai/2026/openvino-workflow/torch-compile.html
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

from pipeline.artifact import Artifact
from pipeline.errors import CheckFailed, listed
from stages.formats import session
from stages.formats.eager import ModuleSession
from stages.formats.session import How
from stages.openvino import library as openvino_library
from stages.openvino import runtime as openvino_runtime
from stages.portable.native_output import to_log

REQUIRES = ("torch", "openvino", "numpy")
NAME = 'torch.compile(backend="openvino")'


class CompiledSession(ModuleSession):
    """A module whose graphs OpenVINO compiles when they are first called, one for each shape.

    Where OpenVINO cannot compile a graph, its backend silently lets PyTorch run it: the results are right, but speed
    and precision are PyTorch's. With dynamic shapes that is the whole model, so each shape is compiled separately.
    Each graph is inspected after the call that compiled it. A graph that PyTorch runs instead is an error; operators
    without a translation, between parts with one, are listed in the property "left_to_pytorch".

    Only one session at a time: a new one clears the backend's cache, which has the addresses of graphs as its keys and
    would return the wrong model for another graph at the same address.
    """

    def __init__(self, artifact: Artifact, settings: Mapping[str, str], threads: int | None) -> None:
        super().__init__(artifact, threads)
        import torch

        _forget()
        # Without aot_autograd this torch fails with "Guard failed on the same frame".
        options: dict[str, Any] = {"aot_autograd": True, "device": openvino_runtime.DEVICE, "config": dict(settings)}
        self._ready = torch.compile(self._bound, backend="openvino", dynamic=False, options=options)
        self._settings = settings
        self._read: Mapping[str, str] = {}
        self._compiled: set[tuple[Any, ...]] = set()

    @property
    def computes_in(self) -> str:
        return openvino_runtime.computes_in(self._read) if self._read else "unknown"

    @property
    def properties(self) -> Mapping[str, str]:
        return self._read

    def _infer(self, tensors: list[Any]) -> tuple[Any, ...]:
        shapes = tuple(t.shape for t in tensors)
        if shapes in self._compiled:
            return super()._infer(tensors)
        before = len(_graphs())
        with to_log():  # torch logs every graph
            answers = super()._infer(tensors)
        self._read = _read_back(_graphs()[before:], self._settings)
        self._compiled.add(shapes)
        return answers


def open_session(artifact: Artifact, how: How) -> CompiledSession:
    """A module that compiles on its first call. Raises StageError for a property that OpenVINO does not have."""
    session.without_extensions(how, "torch.compile")
    return CompiledSession(artifact, openvino_runtime.settings(how), how.threads)


def _backend() -> Any:
    """The backend's module with its caches. Its import registers the backend with torch.compile."""
    openvino_library.load()
    with to_log():  # it uses deprecated settings of torch
        from openvino.frontend.pytorch.torchdynamo import backend, execute  # noqa: F401

    return execute


def _forget() -> None:
    import torch

    books = _backend()
    torch._dynamo.reset()  # first: it frees the addresses of its graphs for others
    books.clear_caches()
    books.req_cache.clear()


def _graphs() -> list[Any]:
    """The graphs that the backend has partitioned so far, each with its parts as children."""
    return list(_backend().partitioned_modules.values())


def _read_back(graphs: list[Any], settings: Mapping[str, str]) -> Mapping[str, str]:
    """The properties that the models which OpenVINO compiled for these graphs report.

    Raises:
        CheckFailed: When PyTorch runs one of the graphs instead, or when a property reads back with another value.
    """
    books = _backend()
    parts = [p for graph in graphs for p in graph.children() if isinstance(p, books.OpenVINOGraphModule)]
    refused = [p for p in parts if p.perm_fallback]
    if refused or not parts:
        raise CheckFailed(
            f"{NAME} left {f'{len(refused)} of {len(parts)} graphs' if parts else 'the model'} to PyTorch, without "
            "a message",
            allowed="every graph compiled by OpenVINO",
            command="another target: OpenVINO compiles the whole model when it comes through ONNX",
        )
    reports = [openvino_runtime.read_back(books.compiled_cache[p.partition_id], settings) for p in parts]
    first = next(
        (t for t in reports if t[openvino_runtime.PRECISION] != settings[openvino_runtime.PRECISION]), reports[0]
    )
    fallbacks = {str(n.target) for g in graphs for n in g.graph.nodes if n.op == "call_function"} - {
        str(operator.getitem)
    }
    return {**first, **({"left_to_pytorch": listed(sorted(fallbacks))} if fallbacks else {})}
