"""capture/capture_export.py."""

from __future__ import annotations

import re

import pytest
import torch
from conversions import capture
from harness import BATCH_SEQ, TOKENS, VECTOR, contents, run_stage
from nets import Attention, FrozenBatch, GraphBranch, TwoOutputs, ValueBranch
from pickles import tells_where

from pipeline.errors import CheckFailed, StageError
from stages.capture import captures, unsupported
from stages.capture.capture_export import CaptureExport
from stages.interface.interface import Dim, Input


def reloaded(captured):
    return torch.export.load(captured.file).module()


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
def test_the_saved_program_answers_as_the_model_at_every_size(tiny, program, batch):
    images = torch.rand(batch, 3, 32, 32)
    torch.testing.assert_close(reloaded(program)(images)[0], tiny.live(images), rtol=1e-5, atol=1e-6)  # same kernels


def test_sizes_beyond_the_bounds_are_refused(program):
    with pytest.raises(Exception, match=r"batch|<= 8|Guard"):
        reloaded(program)(torch.rand(9, 3, 32, 32))


def test_each_dynamic_dimension_keeps_its_bounds(tmp_path):
    result = capture("export", Attention(), tmp_path, inputs=TOKENS, dims=BATCH_SEQ)
    ranges = sorted((r.lower, r.upper) for r in result.live.range_constraints.values())
    assert ranges == [(1, 8), (2, 16)]


@pytest.mark.slow  # a BERT is in test_models and in onnx/test_cast
def test_attention_is_captured_for_every_length(tmp_path):
    net = Attention()
    result = capture("export", net, tmp_path, inputs=TOKENS, dims=BATCH_SEQ)
    tokens = torch.randn(3, 7, 8)
    torch.testing.assert_close(reloaded(result)(tokens)[0], net(tokens), rtol=1e-4, atol=1e-5)  # fused and plain


def test_all_outputs_are_captured(tmp_path):
    result = capture("export", TwoOutputs(), tmp_path)
    assert [tuple(v.shape) for v in reloaded(result)(torch.rand(3, 3, 32, 32))] == [(3, 10), (3, 4, 32, 32)]


def test_a_dimension_whose_usual_size_is_one_stays_dynamic(tmp_path):
    result = capture("export", TwoOutputs(), tmp_path, dims={"batch": Dim(1, 1, 8)})
    assert reloaded(result)(torch.rand(5, 3, 32, 32))[0].shape == (5, 10)


def test_two_captures_are_the_same_bytes(tiny, reference, program, tmp_path):
    again = run_stage(CaptureExport(2**30), {"module": tiny, "reference": reference}, tmp_path / "again")
    assert contents(again.folder) == contents(program.folder)


def test_neither_the_file_nor_the_program_in_memory_tells_where_it_was_made(tmp_path):
    result = capture("export", GraphBranch(), tmp_path, inputs=VECTOR)
    assert tells_where(result.file) == []
    stacks = [node.meta.get("stack_trace", "") for node in unsupported.calls(result.live)]
    assert any('File "nets.py"' in stack for stack in stacks)
    assert not any('File "/' in stack for stack in stacks)


def test_the_line_of_the_model_is_found_again(tmp_path):
    result = capture("export", GraphBranch(), tmp_path, inputs=VECTOR)
    places = {unsupported.place_of(node) for node in unsupported.calls(torch.export.load(result.file))}
    assert any(re.fullmatch(r"tests/nets\.py:\d+ in .*: return torch\.cond\(.*", place) for place in places)


def test_a_batch_that_the_model_freezes_is_named(tmp_path):
    with pytest.raises(CheckFailed, match=r"(?s)dims\.batch cannot be dynamic .* at 2\n +at \S*nets\.py:\d+ .*=trace"):
        capture("export", FrozenBatch(), tmp_path, inputs=VECTOR)


class Chunks(FrozenBatch):
    """torch's solver takes the condition behind this, (2n - 1)//n == 1, for one that fixes n."""

    def forward(self, x):
        first, second = torch.chunk(torch.cat([x, 2 * x]), 2, dim=0)
        return self.head(first) + second


def test_a_condition_that_holds_at_every_size_fixes_nothing(tmp_path):
    net = Chunks()
    result = capture("export", net, tmp_path, inputs=VECTOR)
    for batch in (1, 2, 5, 8):
        rows = torch.rand(batch, 4)
        torch.testing.assert_close(reloaded(result)(rows)[0], net(rows), rtol=1e-5, atol=1e-6)


class ShortBatches(FrozenBatch):
    """Another way for batches beyond five."""

    def forward(self, x):
        return self.head(x) if x.shape[0] < 6 else -self.head(x)


class Padded(torch.nn.Module):
    """Sums in blocks of four, as linear attention does: where nothing is padded, torch.export sees another layout."""

    def forward(self, x):
        batch, time, width = x.shape
        blocks = torch.nn.functional.pad(x, (0, 0, 0, (4 - time % 4) % 4)).reshape(batch, -1, 4, width)
        return blocks.cumsum(2).reshape(batch, -1, width)[:, :time].transpose(1, 2).contiguous()


def test_a_condition_that_changes_no_answer_where_it_fails_is_no_reason_to_refuse(tmp_path):
    inputs = {"x": Input(["batch", "time", 3], fill="normal")}
    dims = {"batch": Dim(1, 2, 4), "time": Dim(2, 6, 16)}
    result = capture("export", Padded(), tmp_path, inputs=inputs, dims=dims)
    program = result.live.module(check_guards=False)
    for time in (2, 4, 7, 16):
        x = torch.rand(3, time, 3)
        torch.testing.assert_close(program(x)[0], Padded()(x))
    assert any("time=4" in line for line in result.notes["claims"]["sizes"]["asked"])


def test_a_condition_that_fails_at_one_size_is_refused(tmp_path):
    with pytest.raises(CheckFailed, match=r"holds only where batch < 6: at batch=6, output 'output' max_rel"):
        capture("export", ShortBatches(), tmp_path, inputs=VECTOR)


def test_it_holds_within_a_narrower_range(tmp_path):
    result = capture("export", ShortBatches(), tmp_path, inputs=VECTOR, dims={"batch": Dim(1, 2, 5)})
    assert reloaded(result)(torch.rand(5, 4))[0].shape == (5, 4)


def test_a_branch_on_values_is_refused_with_another_way(tmp_path):
    with pytest.raises(StageError, match=r"(?s)cannot capture the model: .*data-dependent.*try: +torch.cond"):
        capture("export", ValueBranch(), tmp_path, inputs=VECTOR)


def test_the_callers_generator_and_the_model_are_left_as_they_were(tiny, reference, tmp_path):
    before, state = torch.random.get_rng_state(), {k: v.clone() for k, v in tiny.live.state_dict().items()}
    run_stage(CaptureExport(2**30), {"module": tiny, "reference": reference}, tmp_path / "out")
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.testing.assert_close(tiny.live.state_dict(), state, rtol=0, atol=0)


def test_a_dimension_that_came_out_as_a_number_is_told_without_torchs_advice_on_its_own_settings():
    class Fixes(torch.nn.Module):
        def forward(self, x):
            return x * torch.ones(7)

    sizes = ({0: torch.export.Dim("time", min=1, max=20)},)
    with pytest.raises(torch._dynamo.exc.UserError) as caught:
        torch.export.export(Fixes(), (torch.ones(7),), dynamic_shapes=sizes, strict=False)
    assert "mark_dynamic" in str(caught.value)
    (problem,) = captures._not_exported(caught.value).problems
    assert problem.what == "model.dims.time cannot be dynamic: the model's code fixes time at 7"
