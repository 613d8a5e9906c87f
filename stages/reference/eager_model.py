"""Calls the eager model, with its own arithmetic and with its buffers restored before each question."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from stages.interface import attention
from stages.interface import call as forward_call

Ask = Callable[[Mapping[str, Any]], Any]
# How a sum is split among threads decides its last bits, so the number is the same on every machine. Four are enough
# for the few cases, and cost next to nothing where there are fewer cores.
THREADS = 4


class EagerModel:
    """A module that is called as its interface says.

    Attributes:
        written: The buffers that forward has written to so far, by name.
    """

    def __init__(self, module: Any, call: Mapping[str, Any] | None) -> None:
        self._module, self._call = module, call
        self._before: dict[str, Any] = {
            name: (b, b._version, b.clone()) for name, b in module.named_buffers() if not b.is_inference()
        }
        self.written: set[str] = set()

    def __call__(self, arrays: Mapping[str, Any], *, restoring: bool = True) -> Any:
        """What forward returns.

        Args:
            arrays: Inputs by name.
            restoring: Whether to restore the buffers first, so that no answer depends on earlier questions.
        """
        import torch

        # Copies: a model that writes into its input must not change what is recorded.
        return self.call({n: torch.from_numpy(v.copy()) for n, v in arrays.items()}, restoring=restoring)

    def call(self, tensors: Mapping[str, Any], *, restoring: bool = True) -> Any:
        """What forward returns for tensors, which it may write to."""
        import torch

        args, kwargs = forward_call.arguments(self._call, tensors)
        if restoring:
            self.restore()
        with computing(), torch.inference_mode():
            try:
                return self._module(*args, **kwargs)
            finally:
                self._note_written()

    @property
    def parts(self) -> Sequence[tuple[str, Any]]:
        """The children that can be called alone, by name."""
        return [(n, m) for n, m in self._module.named_children() if hasattr(m, "forward")]

    def set_attributes(self, arrays: Mapping[str, Any]) -> list[str]:
        """The attributes that forward sets while it answers, by their dotted names."""
        before = dict(_attributes(self._module))
        self(arrays)
        changed = [n for n, value in _attributes(self._module) if n not in before or before[n] is not value]
        return changed + list(_in_script(self._module))

    def restore(self) -> None:
        """Restores every buffer that was written to."""
        import torch

        with torch.inference_mode():
            for name in self.written & self._before.keys():
                tensor, _, values = self._before[name]
                tensor.copy_(values)
                owner, _, leaf = name.rpartition(".")
                setattr(self._module.get_submodule(owner), leaf, tensor)
                self._before[name] = (tensor, tensor._version, values)

    def _note_written(self) -> None:
        buffers: dict[str, Any] = dict(self._module.named_buffers())
        same = {n for n, (b, version, _) in self._before.items() if b._version == version and buffers.get(n) is b}
        self.written |= (buffers.keys() | self._before.keys()) - same


def _attributes(module: Any) -> Iterator[tuple[str, Any]]:
    """What is stored in a module and its submodules besides parameters, buffers and submodules, by dotted names."""
    for prefix, part in module.named_modules():
        yield from ((f"{prefix}.{n}".lstrip("."), v) for n, v in vars(part).items() if not n.startswith("_"))


def _in_script(module: Any) -> Iterator[str]:
    """The attributes that the forward of a TorchScript module assigns, by dotted names."""
    for prefix, part in module.named_modules():
        assigned = dict.fromkeys(re.findall(r"\bself\.(\w+) = ", getattr(part, "code", "")))
        yield from (f"{prefix}.{n}".lstrip(".") for n in assigned)


@contextlib.contextmanager
def computing(shared: int = THREADS) -> Iterator[None]:
    """The setting of every reference: a fixed number of threads, and the attention that is captured."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(shared)
    try:
        with attention.slow():
            yield
    finally:
        torch.set_num_threads(threads)
