"""stages/capture_export.py."""

from __future__ import annotations

import pytest
import torch
from harness import (
    BATCH,
    BATCH_SEQ,
    IMAGE,
    TOKENS,
    VECTOR,
    Attention,
    FrozenBatch,
    TwoOutputs,
    ValueBranch,
    contents,
    module,
    run_stage,
)

from pipeline.errors import CheckFailed, StageError
from stages._interface import Dim
from stages.capture_export import CaptureExport


def capture(net, folder, inputs=IMAGE, dims=BATCH):
    return run_stage(CaptureExport(inputs, dims, 0), module(net), folder)


def reloaded(made):
    return torch.export.load(made.file).module()


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
def test_the_saved_program_answers_as_the_model_at_every_size(tiny, program, batch):
    images = torch.rand(batch, 3, 32, 32)
    torch.testing.assert_close(reloaded(program)(images), tiny.live(images), rtol=1e-5, atol=1e-6)  # same kernels


def test_sizes_beyond_the_bounds_are_refused(program):
    with pytest.raises(Exception, match=r"batch|<= 8|Guard"):
        reloaded(program)(torch.rand(9, 3, 32, 32))


def test_each_dynamic_dimension_keeps_its_bounds(tmp_path):
    made = capture(Attention(), tmp_path / "out", TOKENS, BATCH_SEQ)
    ranges = sorted((r.lower, r.upper) for r in made.live.range_constraints.values())
    assert ranges == [(1, 8), (2, 16)]


def test_attention_is_captured_for_every_length(tmp_path):
    net = Attention()
    made = capture(net, tmp_path / "out", TOKENS, BATCH_SEQ)
    tokens = torch.randn(3, 7, 8)
    torch.testing.assert_close(reloaded(made)(tokens), net(tokens), rtol=1e-4, atol=1e-5)  # fused kernel against plain


def test_all_outputs_are_captured(tmp_path):
    made = capture(TwoOutputs(), tmp_path / "out")
    assert [tuple(v.shape) for v in reloaded(made)(torch.rand(3, 3, 32, 32))] == [(3, 10), (3, 4, 32, 32)]


def test_a_dimension_whose_usual_size_is_one_stays_dynamic(tmp_path):
    made = capture(TwoOutputs(), tmp_path / "out", dims={"batch": Dim(1, 1, 8)})
    assert reloaded(made)(torch.rand(5, 3, 32, 32))[0].shape == (5, 10)


def test_two_captures_are_the_same_bytes(tiny, program, tmp_path):
    again = run_stage(CaptureExport(IMAGE, BATCH, 0), tiny, tmp_path / "again")
    assert contents(again.folder) == contents(program.folder)


def test_a_batch_that_the_model_freezes_is_named(tmp_path):
    with pytest.raises(CheckFailed, match=r"model\.dims\.batch cannot be dynamic: .* specialized it to be a constant"):
        capture(FrozenBatch(), tmp_path / "out", VECTOR)


def test_a_branch_on_values_is_refused_with_another_way(tmp_path):
    with pytest.raises(StageError, match=r"(?s)cannot capture the model: .*data-dependent.*try: +torch.cond"):
        capture(ValueBranch(), tmp_path / "out", VECTOR)


def test_the_callers_generator_and_the_model_are_left_as_they_were(tiny, tmp_path):
    before, state = torch.random.get_rng_state(), {k: v.clone() for k, v in tiny.live.state_dict().items()}
    run_stage(CaptureExport(IMAGE, BATCH, 0), tiny, tmp_path / "out")
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.testing.assert_close(tiny.live.state_dict(), state, rtol=0, atol=0)
