"""generation/record_tokens.py: what is recorded is what the model picks when it is given the whole text each time."""

import decoders
import numpy as np
import pytest
import torch
from harness import run_stage, shipped

from pipeline.errors import ConfigError
from stages.portable import generating


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    tokens = run_stage(
        shipped("record_tokens", prompts=[1, 7], tokens=10, seed=0),
        decoders.record_inputs(),
        tmp_path_factory.mktemp("t") / "t",
    )
    assert "different, after prompts of 1, 7 tokens" in tokens.notes["says"]
    return generating.read_asked(tokens.file)


def whole(prompt, new):
    """Tokens and margins without a cache."""
    model, text, margins = decoders.Decoder().eval(), list(prompt), []
    for _ in range(new):
        ids, length = torch.tensor([text]), len(text)
        empty = [torch.zeros(1, decoders.HEADS, 0, decoders.WIDTH // decoders.HEADS)] * len(decoders.PAST)
        logits = model(ids, torch.ones(1, length, dtype=torch.long), torch.arange(length)[None], *empty)[0][
            0, -1
        ].detach()
        top = logits.sort().values
        margins.append(float((top[-1] - top[-2]) / logits.abs().max()))
        if logits.argmax() == decoders.EOS:
            break
        text.append(int(logits.argmax()))
    return text[len(prompt) :], margins


def test_each_prompt_goes_on_as_the_whole_text_does_alone_and_filled_up_beside_longer_ones(record):
    assert [len(b.prompts) for b in record.batches] == [1, 1, 2]
    for batch in record.batches:
        for prompt, tokens, margins in zip(batch.prompts, batch.tokens, batch.margins, strict=True):
            expected, ahead = whole(prompt, record.new)
            assert tokens == expected
            assert margins == pytest.approx(ahead, rel=1e-2, abs=1e-5)


def test_tokens_vary_and_prompts_have_none_that_end_or_fill_up(record):
    assert len({t for b in record.batches for row in b.tokens for t in row}) > 5
    special = {decoders.PAD, decoders.BOS, decoders.EOS}
    assert not special & {t for b in record.batches for row in b.prompts for t in row}


def test_a_text_beyond_the_positions_is_refused_with_what_fits(tmp_path):
    with pytest.raises(
        ConfigError, match=r"100 tokens, and the model 96 positions\n.*\n.*model\.generation\.tokens=56"
    ):
        run_stage(shipped("record_tokens", prompts=[40], tokens=60, seed=0), decoders.record_inputs(), tmp_path / "t")


@pytest.mark.parametrize(
    ("settings", "what"),
    [({"prompts": [1, 0]}, "prompts is [1, 0]"), ({"prompts": []}, "prompts is []"), ({"tokens": 0}, "tokens is 0")],
)
def test_lengths_of_nothing_are_a_problem_before_any_work(settings, what):
    (problem,) = shipped("record_tokens", seed=0, **{"prompts": [1], "tokens": 1, **settings}).problems()
    assert problem.what == what
    assert "model.generation." in problem.command


def test_a_model_that_says_one_thing_only_is_told(tmp_path):
    inputs = decoders.record_inputs()
    inputs["module"].live.head.weight.zero_()
    tokens = run_stage(shipped("record_tokens", prompts=[2], tokens=3, seed=0), inputs, tmp_path / "t")
    assert "one and the same token" in tokens.notes["caution"]
    assert np.isfinite(generating.read_asked(tokens.file).batches[0].margins).all()
