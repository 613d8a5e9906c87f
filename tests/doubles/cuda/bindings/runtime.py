"""Stands for NVIDIA's CUDA runtime where there is no GPU: its memory is the host's. GPU_DOUBLE says what the GPU is."""

import ctypes
import enum
import os
from types import SimpleNamespace

_tensors = {}


class cudaError_t(enum.IntEnum):  # noqa: N801
    cudaSuccess = 0  # noqa: N815
    cudaErrorMemoryAllocation = 2  # noqa: N815


class cudaMemcpyKind(enum.IntEnum):  # noqa: N801
    cudaMemcpyHostToDevice = 1  # noqa: N815
    cudaMemcpyDeviceToHost = 2  # noqa: N815


def cudaGetDeviceProperties(device):  # noqa: N802
    name, capability, _ = os.environ.get("GPU_DOUBLE", "NVIDIA H100 80GB HBM3,9.0,580.65.06").split(",")
    major, minor = map(int, capability.split("."))
    return cudaError_t.cudaSuccess, SimpleNamespace(name=name.encode(), major=major, minor=minor)


def cudaStreamCreate():  # noqa: N802
    return cudaError_t.cudaSuccess, 7


def cudaStreamSynchronize(stream):  # noqa: N802
    assert stream == 7
    return (cudaError_t.cudaSuccess,)


def cudaMalloc(size):  # noqa: N802
    buffer = ctypes.create_string_buffer(size)
    _tensors[ctypes.addressof(buffer)] = buffer
    return cudaError_t.cudaSuccess, ctypes.addressof(buffer)


def cudaFree(address):  # noqa: N802
    del _tensors[address]
    return (cudaError_t.cudaSuccess,)


def cudaMemcpy(to, source, size, kind):  # noqa: N802
    on_gpu = to if kind == cudaMemcpyKind.cudaMemcpyHostToDevice else source
    assert on_gpu in _tensors, "no memory of the GPU"
    ctypes.memmove(to, source, size)
    return (cudaError_t.cudaSuccess,)
