"""A module, executed by torch.compile(backend="openvino"): for whoever would rather stay in PyTorch.

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

    What OpenVINO cannot compile, its backend hands back to PyTorch without a word: the answers are right and the
    speed and the precision are PyTorch's. With dynamic shapes that is the whole model, so every shape is compiled by
    itself. Each graph is looked at after the call that compiled it: one that PyTorch runs in OpenVINO's place is an
    error; operators that have no translation, between parts that have, are told as the property "left_to_pytorch".

    One at a time: opening another forgets what the last one compiled, which the backend keeps by the address of the
    graph and would find again for another graph at that address.
    """

    def __init__(self, artifact: Artifact, asked: Mapping[str, str], threads: int | None) -> None:
        super().__init__(artifact, threads)
        import torch

        _forget()
        # Without aot_autograd this torch fails with "Guard failed on the same frame".
        options: dict[str, Any] = {"aot_autograd": True, "device": openvino_runtime.DEVICE, "config": dict(asked)}
        self._ready = torch.compile(self._bound, backend="openvino", dynamic=False, options=options)
        self._asked = asked
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
        with to_log():  # torch's loggers tell of every graph
            answers = super()._infer(tensors)
        self._read = _read_back(_graphs()[before:], self._asked)
        self._compiled.add(shapes)
        return answers


def open_session(artifact: Artifact, how: How) -> CompiledSession:
    """A module that is compiled when it is first called. Raises StageError for a property OpenVINO does not have."""
    session.without_extensions(how, "torch.compile")
    return CompiledSession(artifact, openvino_runtime.settings(how), how.threads)


def _backend() -> Any:
    """The backend's own books. Importing it is what makes its name known to torch.compile."""
    openvino_library.quiet()
    with to_log():  # it sets what torch has deprecated
        from openvino.frontend.pytorch.torchdynamo import backend, execute  # noqa: F401

    return execute


def _forget() -> None:
    import torch

    books = _backend()
    torch._dynamo.reset()  # before the addresses of its graphs are free for others
    books.clear_caches()
    books.req_cache.clear()


def _graphs() -> list[Any]:
    """The graphs that the backend has taken apart so far, each with its parts as children."""
    return list(_backend().partitioned_modules.values())


def _read_back(graphs: list[Any], asked: Mapping[str, str]) -> Mapping[str, str]:
    """What the models that OpenVINO compiled for these graphs say of themselves.

    Raises:
        CheckFailed: When PyTorch runs one of them in its place, or one reads back otherwise than it was asked for.
    """
    books = _backend()
    parts = [p for graph in graphs for p in graph.children() if isinstance(p, books.OpenVINOGraphModule)]
    refused = [p for p in parts if p.perm_fallback]
    if refused or not parts:
        raise CheckFailed(
            f"{NAME} left {f'{len(refused)} of {len(parts)} graphs' if parts else 'the model'} to PyTorch, without "
            "a word of it",
            allowed="every graph compiled by OpenVINO",
            command="another target: what reaches OpenVINO by way of ONNX is compiled whole",
        )
    told = [openvino_runtime.read_back(books.compiled_cache[p.partition_id], asked) for p in parts]
    first = next((t for t in told if t[openvino_runtime.PRECISION] != asked[openvino_runtime.PRECISION]), told[0])
    left = {str(n.target) for g in graphs for n in g.graph.nodes if n.op == "call_function"} - {str(operator.getitem)}
    return {**first, **({"left_to_pytorch": listed(sorted(left))} if left else {})}
