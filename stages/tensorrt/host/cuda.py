"""Memory and a stream of a GPU, by PyTorch or by NVIDIA's cuda-python, whichever is installed."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from stages.tensorrt.host.card import EXIT_MISSING, Failure

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Buffer:
    """Memory of the GPU.

    Args:
        address: An integer.
        owner: The object that keeps the memory from being freed.
        shape: The shape of the array in it.
        dtype: numpy's name of the array's type.
    """

    address: int
    owner: object
    shape: Sequence[int]
    dtype: str


class Cuda(Protocol):
    """A GPU: its name, compute capability such as "8.6", and a stream, as an integer, other than the default one."""

    name: str
    compute_capability: str
    stream: int

    def put(self, array: Array) -> Buffer:
        """A copy of an array on the GPU, complete when this returns."""

    def room(self, shape: Sequence[int], dtype: str) -> Buffer:
        """Memory for an array."""

    def get(self, buffer: Buffer) -> Array:
        """A copy of an array from the GPU, after all work of the stream."""

    def wait(self) -> None:
        """Waits for all work of the stream."""


def open_cuda() -> Cuda:
    """The first GPU that CUDA shows. Raises Failure when there is none, or no library for it."""
    why = []
    for way in (ByTorch, ByCudaPython):
        try:
            return way()
        except (ImportError, Failure) as e:
            why.append(e.what if isinstance(e, Failure) else str(e))
    raise Failure(
        f"there is no NVIDIA GPU that can be used: {'; '.join(why)}",
        EXIT_MISSING,
        allowed="a host with an NVIDIA GPU, its driver, and torch built for CUDA or cuda-python",
        command="nvidia-smi shows GPU and driver",
    )


class ByTorch:
    """See Cuda."""

    def __init__(self) -> None:
        import torch

        if not torch.cuda.is_available():
            raise Failure("PyTorch finds none", EXIT_MISSING)
        properties = torch.cuda.get_device_properties(0)
        self.name, self.compute_capability = str(properties.name), f"{properties.major}.{properties.minor}"
        self._torch, self._stream = torch, torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self.stream = int(self._stream.cuda_stream)

    def put(self, array: Array) -> Buffer:
        import numpy as np

        tensor = self._torch.from_numpy(np.asarray(array, order="C")).to("cuda")
        return Buffer(tensor.data_ptr(), tensor, array.shape, array.dtype.name)

    def room(self, shape: Sequence[int], dtype: str) -> Buffer:
        tensor = self._torch.empty(tuple(shape), dtype=getattr(self._torch, dtype), device="cuda")
        return Buffer(tensor.data_ptr(), tensor, shape, dtype)

    def get(self, buffer: Buffer) -> Array:
        self.wait()
        array: Array = buffer.owner.cpu().numpy()  # type: ignore[attr-defined]
        return array

    def wait(self) -> None:
        self._stream.synchronize()


class ByCudaPython:
    """See Cuda. Source: https://nvidia.github.io/cuda-python/cuda-bindings/latest/module/runtime.html"""

    def __init__(self) -> None:
        from cuda.bindings import runtime

        self._runtime = runtime
        properties = self._ask(runtime.cudaGetDeviceProperties(0))
        self.name, self.compute_capability = properties.name.decode(), f"{properties.major}.{properties.minor}"
        self.stream = int(self._ask(runtime.cudaStreamCreate()))

    def put(self, array: Array) -> Buffer:
        import numpy as np

        array = np.asarray(array, order="C")
        buffer = self.room(array.shape, array.dtype.name)
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._ask(self._runtime.cudaMemcpy(buffer.address, array.ctypes.data, array.nbytes, kind))
        return buffer

    def room(self, shape: Sequence[int], dtype: str) -> Buffer:
        import numpy as np

        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        address = int(self._ask(self._runtime.cudaMalloc(max(size, 1))))
        owner = _Memory()
        weakref.finalize(owner, self._runtime.cudaFree, address)
        return Buffer(address, owner, shape, dtype)

    def get(self, buffer: Buffer) -> Array:
        import numpy as np

        self.wait()
        array: Array = np.empty(tuple(buffer.shape), buffer.dtype)
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._ask(self._runtime.cudaMemcpy(array.ctypes.data, buffer.address, array.nbytes, kind))
        return array

    def wait(self) -> None:
        self._ask(self._runtime.cudaStreamSynchronize(self.stream))

    def _ask(self, answer: Sequence[Any]) -> Any:
        """The value that a call returned after its error code. Raises Failure."""
        error, *values = answer
        if int(error):
            raise Failure(f"CUDA says {error.name}")
        return values[0] if values else None


class _Memory:
    """An object whose memory on the GPU is freed together with it."""
