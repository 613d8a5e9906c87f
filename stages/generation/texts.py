"""Texts as tokens, and a language model's probability of each token after those before it.

    perplexity = exp(-mean log p(token)), over every token of every text but the first
    KL(p || q) = mean over places of sum p (log p - log q), where p is the PyTorch model's and q the artifact's

Only the likeliest tokens of p are recorded, and all others count as one token: with a larger vocabulary, the KL is a
little smaller than the full one.

Source: Kullback and Leibler 1951, On Information and Sufficiency; huggingface.co/docs/transformers/perplexity
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Artifact
from stages.generation.format import TEXTS
from stages.portable.generating import Decoder

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    Array = np.ndarray[Any, Any]

LIKELIEST = 1024  # tokens are recorded at each place
ROUNDING = 1e-6  # of a KL: p is recorded in float32
MOST = 2**26  # logits that are in memory at once
FACT = "texts"


@dataclass(frozen=True)
class Texts:
    """Texts, and the PyTorch model's probabilities after each token but the last.

    Args:
        tokens: int64 [texts, length].
        likely: The natural logarithm of each next token's probability, float32 [texts, length - 1].
        ids: The likeliest tokens, the first one first, int32 [texts, length - 1, LIKELIEST or the vocabulary].
        logs: The natural logarithms of their probabilities, float32, of the same shape.
    """

    tokens: Array
    likely: Array
    ids: Array
    logs: Array

    @property
    def perplexity(self) -> float:
        """The PyTorch model's perplexity."""
        return _perplexity(self.likely)


@dataclass(frozen=True)
class Figures:
    """How far a model is from the PyTorch model on texts.

    Args:
        value: Its perplexity.
        of_the_model: The PyTorch model's.
        kl: The Kullback-Leibler divergence, in nats.
        agreement: The share of places, in 0..1, where the same token is the likeliest.
    """

    value: float
    of_the_model: float
    kl: float
    agreement: float

    @property
    def ratio(self) -> float:
        """Its perplexity as a multiple of the PyTorch model's."""
        return self.value / self.of_the_model


def answered(decoder: Decoder, tokens: Array, vocabulary: int) -> Iterator[tuple[slice, Array]]:
    """Rows of texts, and the logarithms of the next token's probabilities, float64 [rows, length - 1, vocabulary].

    A text runs in two calls: its first half as a prompt, and the second on the cache of the first.
    """
    import numpy as np

    count, length = tokens.shape
    at_once = max(1, MOST // (length * vocabulary))
    for begin in range(0, count, at_once):
        rows = slice(begin, min(begin + at_once, count))
        tokens_now = tokens[rows]
        decoder.start(len(tokens_now))
        logits = []
        for first, last in ((0, length // 2), (length // 2, length)):
            positions = np.broadcast_to(np.arange(first, last), (len(tokens_now), last - first))
            mask = np.ones((len(tokens_now), last), np.int64)
            logits.append(np.array(decoder.logits(tokens_now[:, first:last].copy(), mask, positions.copy())))
        yield rows, logarithms(np.concatenate(logits, axis=1)[:, :-1])


def logarithms(logits: Array) -> Array:
    """The natural logarithms of the probabilities of logits, along the last axis, float64."""
    import numpy as np

    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    wide -= np.log(np.exp(wide).sum(axis=-1, keepdims=True))
    return wide


def described(decoder: Decoder, tokens: Array, vocabulary: int) -> Texts:
    """A model's probabilities of texts, for later comparisons."""
    import numpy as np

    likely, ids, logs = [], [], []
    for rows, logs_now in answered(decoder, tokens, vocabulary):
        likely.append(_next(logs_now, tokens[rows]))
        order = np.argsort(-logs_now, axis=-1, kind="stable")[..., :LIKELIEST]
        ids.append(order.astype(np.int32))
        logs.append(np.take_along_axis(logs_now, order, -1).astype(np.float32))
    return Texts(tokens, np.concatenate(likely).astype(np.float32), np.concatenate(ids), np.concatenate(logs))


def compared(decoder: Decoder, texts: Texts, vocabulary: int) -> Figures:
    """How far a model is from the one that recorded the texts. NaN where it answers NaN."""
    import numpy as np

    likely, divergence, same = [], [], []
    for rows, logs_now in answered(decoder, texts.tokens, vocabulary):
        likely.append(_next(logs_now, texts.tokens[rows]))
        ids, logs = texts.ids[rows].astype(np.int64), texts.logs[rows].astype(np.float64)
        others = np.take_along_axis(logs_now, ids, -1)
        divergence.append((np.exp(logs) * (logs - others)).sum(-1) + _rest(logs, others))
        same.append(logs_now.argmax(-1) == ids[..., 0])
    kl, agreement = (float(np.concatenate(x).mean()) for x in (divergence, same))
    kl = 0.0 if -ROUNDING < kl < 0 else kl  # only rounding makes it negative
    return Figures(_perplexity(np.concatenate(likely)), texts.perplexity, kl, agreement)


def _perplexity(likely: Array) -> float:
    import numpy as np

    return float(np.exp(-likely.mean(dtype=np.float64)))


def _next(logs: Array, tokens: Array) -> Array:
    """The logarithms of the tokens that come next, [rows, length - 1]."""
    import numpy as np

    return np.take_along_axis(logs, tokens[:, 1:, None], -1)[..., 0]


def _rest(logs: Array, others: Array) -> Array:
    """The share of the divergence from all tokens that were not recorded, taken as one token."""
    import numpy as np

    if logs.shape[-1] < LIKELIEST:
        return np.zeros(logs.shape[:-1])
    least = np.finfo(np.float32).eps  # the smallest rest that float32 logarithms can show
    ours, theirs = (np.maximum(1 - np.exp(x).sum(-1), least) for x in (logs, others))
    rest: Array = ours * (np.log(ours) - np.log(theirs))
    return rest


def write(texts: Texts, folder: Path) -> None:
    """Writes a tensor for each field."""
    from safetensors.numpy import save_file

    save_file(vars(texts), folder / TEXTS.file)


def read(artifact: Artifact) -> Texts:
    """Reads what `write` wrote."""
    from safetensors.numpy import load_file

    return Texts(**load_file(artifact.file))
