"""Completes torch's list of translations to ONNX, and keeps it from taking longer than it has to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock


@contextlib.contextmanager
def completed() -> Iterator[None]:
    """Adds translations of complex numbers to those that torch.onnx.export lists, and lists them without their source.

    The latter changes no result. onnxscript parses each of 500 functions for the name of its domain, which is that of
    its opset, and nothing reads it (onnxscript 0.7.2, _framework_apis/torch_2_5.py: get_torchlib_ops): 0.3 seconds of
    each export.
    """
    from onnxscript.values import TracedOnnxFunction
    from torch.onnx._internal.exporter._registration import OnnxDecompMeta, ONNXRegistry

    from stages.onnx.exporting import complex_numbers  # imports onnxscript

    listed = ONNXRegistry.from_torchlib
    signature = property(lambda function: SimpleNamespace(domain=function.opset.domain))

    def from_torchlib(*args: Any, **options: Any) -> Any:
        with mock.patch.object(TracedOnnxFunction, "function_ir", signature):
            registry = listed(*args, **options)
        for target, function in complex_numbers.translations().items():
            registry._register(target, OnnxDecompMeta(function, target, None, is_complex=True))
        return registry

    with mock.patch.object(ONNXRegistry, "from_torchlib", staticmethod(from_torchlib)):
        yield
