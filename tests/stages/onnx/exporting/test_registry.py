"""onnx/exporting/registry.py: torch's translations are the same ones but for ours, listed without their source text."""

from __future__ import annotations

import pytest
from onnxscript.values import TracedOnnxFunction
from torch.onnx._internal.exporter._registration import ONNXRegistry

from stages.onnx.exporting import complex_numbers, registry


def translations(opset: int):
    listed = ONNXRegistry().from_torchlib(opset_version=opset).functions
    return {
        (str(target), t.onnx_function.name if hasattr(t.onnx_function, "name") else t.onnx_function, str(t.signature))
        for target, several in listed.items()
        for t in several
    }


@pytest.mark.parametrize("opset", [18, 23])
def test_the_translations_are_those_that_torch_lists(opset, monkeypatch):
    expected = translations(opset)
    assert len(expected) > 400
    with registry.completed():
        monkeypatch.setattr("inspect.getsource", lambda _: pytest.fail("a translation's source was read"))
        ours = translations(opset) - expected
        assert translations(opset) - ours == expected
    every = {str(o.name()) for o in complex_numbers.translations()}
    assert {target for target, *_ in ours} == every - {"aten::index.Tensor"}  # torch's own, for complex numbers too


def test_the_signature_of_a_translation_is_itself_again_afterwards():
    parsed = TracedOnnxFunction.function_ir
    with registry.completed():
        ONNXRegistry().from_torchlib()
    assert TracedOnnxFunction.function_ir is parsed
