"""capture/capture_trace.py."""

from __future__ import annotations

import logging
import re

import pytest
import torch
from conversions import capture, export
from harness import BATCH_SEQ, TOKENS, VECTOR, contents, module, run_stage
from nets import Attention, FixedBatch, FrozenBatch, TwoOutputs, ValueBranch
from pickles import tells_where

from pipeline.errors import StageError
from stages.capture.capture_trace import CaptureTrace
from stages.interface.interface import Dim

TRACE_LOG = "stages.capture.captures"


def reloaded(captured):
    return torch.jit.load(captured.file)


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
def test_the_saved_trace_answers_as_the_model_at_every_size(tiny, traced, batch):
    images = torch.rand(batch, 3, 32, 32)
    (answer,) = torch.jit.load(traced.file)(images)
    torch.testing.assert_close(answer, tiny.live(images), rtol=1e-5, atol=1e-6)  # same kernels, perhaps fused


def test_all_outputs_are_captured(tmp_path):
    result = capture("trace", TwoOutputs(), tmp_path)
    assert [tuple(v.shape) for v in reloaded(result)(torch.rand(3, 3, 32, 32))] == [(3, 10), (3, 4, 32, 32)]


def test_a_dimension_whose_usual_size_is_one_stays_dynamic(tmp_path):
    result = capture("trace", TwoOutputs(), tmp_path, dims={"batch": Dim(1, 1, 8)})
    assert reloaded(result)(torch.rand(5, 3, 32, 32))[0].shape == (5, 10)


def test_attention_is_traced_without_its_fast_path(tmp_path):
    result = capture("trace", Attention(), tmp_path, inputs=TOKENS, dims=BATCH_SEQ)
    assert "_transformer_encoder_layer_fwd" not in str(reloaded(result).inlined_graph)
    assert "scaled_dot_product_attention" in str(reloaded(result).inlined_graph)


def test_the_fast_path_would_be_traced_if_it_were_left_on(tmp_path):
    with torch.no_grad():
        trace = torch.jit.trace(module(Attention()).live, torch.randn(2, 4, 8), check_trace=False)
    assert "_transformer_encoder_layer_fwd" in str(trace.inlined_graph)


@pytest.mark.parametrize("fast", [True, False])
def test_the_fast_path_is_put_back_as_it_was(tmp_path, fast):
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(fast)
    try:
        capture("trace", Attention(), tmp_path, inputs=TOKENS, dims=BATCH_SEQ)
        assert torch.backends.mha.get_fastpath_enabled() is fast
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class Untraceable(FixedBatch):
    """Answers only while nobody records."""

    def forward(self, x):
        if torch.jit.is_tracing():
            raise ValueError("not while tracing")
        return self.head(x)


def test_the_fast_path_is_put_back_when_tracing_fails(tmp_path):
    with pytest.raises(StageError, match=r"torch\.jit\.trace cannot capture the model: not while tracing"):
        capture("trace", Untraceable(), tmp_path, inputs=VECTOR)
    assert torch.backends.mha.get_fastpath_enabled()


class BranchesTwice(ValueBranch):
    """Meets the same line again."""

    def forward(self, x):
        return super().forward(super().forward(x))


def test_each_line_is_told_once(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, TRACE_LOG):
        capture("trace", BranchesTwice(), tmp_path, inputs=VECTOR)
    assert len(caplog.records) == 1


@pytest.mark.parametrize("net", [ValueBranch, FrozenBatch])
def test_what_the_tracer_fixes_is_told_with_its_place(tmp_path, caplog, net):
    with caplog.at_level(logging.WARNING, TRACE_LOG):
        result = capture("trace", net(), tmp_path, inputs=VECTOR)
    (record,) = caplog.records
    assert "nets.py" in record.getMessage()
    assert "might cause the trace to be incorrect" in record.getMessage()
    assert "fixed as the example took them, at nets.py:" in result.notes["caution"]


def test_a_model_without_branches_is_traced_without_a_word(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, TRACE_LOG):
        result = capture("trace", TwoOutputs(), tmp_path)
    assert (caplog.records, result.notes["caution"]) == ([], "")


def test_two_traces_are_the_same_code(tiny, reference, tmp_path):
    inputs = {"module": tiny, "reference": reference}
    first, again = (reloaded(run_stage(CaptureTrace(), inputs, tmp_path / d)) for d in "ab")
    # Not the same file: TorchScript numbers the classes that it has met in a process.
    assert first.code == again.code


def test_two_traces_are_exported_to_the_same_bytes(tmp_path):
    net = TwoOutputs()
    first, again = (export("trace", net, tmp_path / d, opset=17) for d in "ab")
    assert contents(first.folder) == contents(again.folder)


def test_the_file_tells_neither_where_it_was_made_nor_by_whom(traced):
    assert tells_where(traced.file) == []
    (source,) = (str(n.sourceRange()) for n in reloaded(traced).inlined_graph.nodes() if n.kind() == "aten::batch_norm")
    frames = re.findall(r"^(\S+)\(\d+\): (\w+)$", source, re.MULTILINE)
    assert ("nets.py", "forward") in frames
    assert frames[-1][0].startswith("torch/")


class Doubled(torch.autograd.Function):
    """Python that no file of TorchScript's can hold."""

    @staticmethod
    def forward(ctx, x):
        return x * 2


class CallsPython(FixedBatch):
    def forward(self, x):
        return super(torch.autograd.Function, Doubled).apply(self.head(x))  # past the usual way to apply it


def test_python_inside_a_trace_is_refused_in_words(tmp_path):
    with pytest.raises(StageError, match=r"(?s)TorchScript cannot save what it captured: \w.*try: +capture=export"):
        capture("trace", CallsPython(), tmp_path, inputs=VECTOR)


class Anchored(FixedBatch):
    """Returns a tensor that is an attribute and no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors = torch.arange(3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.head(x), self.anchors


def test_a_tensor_that_is_an_attribute_may_be_returned(tmp_path):
    script = reloaded(capture("trace", Anchored(), tmp_path, inputs=VECTOR))
    assert script(torch.rand(3, 4))[1].tolist() == [0, 1, 2]
