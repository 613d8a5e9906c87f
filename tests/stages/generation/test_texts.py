"""generation/texts.py: perplexity and divergence by their definitions, on the cache of the first half."""

import numpy as np
import pytest

from stages.generation import texts

WORDS = 12


class Table:
    """Expects of each token what a table says, whatever came before it; it holds masks and positions to their sense."""

    def __init__(self, seed):
        self.logits_of = np.random.default_rng(seed).normal(size=(WORDS, WORDS)).astype(np.float32)

    def start(self, rows):
        self.tokens = np.zeros((rows, 0), np.int64)

    def logits(self, ids, mask, positions):
        assert positions.tolist() == [[*range(self.tokens.shape[1], self.tokens.shape[1] + ids.shape[1])]] * len(ids)
        self.tokens = np.concatenate([self.tokens, ids], axis=1)
        assert mask.tolist() == np.ones_like(self.tokens).tolist()
        return self.logits_of[ids]


def probabilities(table):
    raised = np.exp(table.logits_of.astype(np.float64))
    return raised / raised.sum(1, keepdims=True)


@pytest.mark.parametrize("likeliest", [WORDS, 5])
def test_figures_are_what_their_definitions_say(likeliest, monkeypatch):
    monkeypatch.setattr(texts, "LIKELIEST", likeliest)
    monkeypatch.setattr(texts, "MOST", 3 * 7 * WORDS)  # three texts at once, of four
    tokens = np.random.default_rng(0).integers(WORDS, size=(4, 7))
    one, other = Table(1), Table(2)
    figures = texts.compared(other, texts.described(one, tokens, WORDS), WORDS)
    p, q = probabilities(one)[tokens[:, :-1]], probabilities(other)[tokens[:, :-1]]
    for value, of in ((figures.of_the_model, p), (figures.value, q)):
        assert value == pytest.approx(np.exp(-np.log(np.take_along_axis(of, tokens[:, 1:, None], -1)).mean()), rel=1e-5)
    assert figures.ratio == figures.value / figures.of_the_model
    assert figures.agreement == (p.argmax(-1) == q.argmax(-1)).mean()
    order = np.argsort(-p, -1)
    p, q = (np.take_along_axis(x, order, -1) for x in (p, q))
    if likeliest < WORDS:  # all the others are one
        p, q = (np.concatenate([x[..., :likeliest], x[..., likeliest:].sum(-1, keepdims=True)], -1) for x in (p, q))
    assert figures.kl == pytest.approx((p * np.log(p / q)).sum(-1).mean(), rel=1e-4)


def test_nothing_lies_between_a_model_and_itself():
    tokens = np.random.default_rng(0).integers(WORDS, size=(2, 9))
    figures = texts.compared(Table(1), texts.described(Table(1), tokens, WORDS), WORDS)
    assert (figures.kl, figures.agreement, figures.ratio) == (
        pytest.approx(0, abs=1e-7),
        1.0,
        pytest.approx(1, abs=1e-6),
    )
