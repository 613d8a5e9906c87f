"""Generation with a language model: recorded prompts and tokens, a loop that picks tokens, and the comparison.

Only the standard library and numpy: the self-check of a bundle contains this text; see delivery/bundle.py.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from stages.portable.handed_over import module

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

Rows = Sequence[Sequence[int]]


class Batch(NamedTuple):
    """Prompts of one batch, and the tokens that the PyTorch model continues them with.

    Args:
        label: The label, such as "7 tokens".
        prompts: Tokens, one row for each prompt; rows may have different lengths.
        tokens: The tokens after each prompt, up to the first end token, without that one.
        margins: By how much each of these, and the end, is ahead of the second choice, as a share of the largest logit.
    """

    label: str
    prompts: Rows
    tokens: Rows
    margins: Sequence[Sequence[float]]


class Text(NamedTuple):
    """A text, and its tokens from the model's own tokenizer."""

    text: str
    tokens: Sequence[int]


class TokenRecord(NamedTuple):
    """The recorded generation of the PyTorch model.

    Args:
        new: How many tokens follow each prompt, at most.
        ends: The end tokens of a text.
        fills: The padding token of shorter rows.
        batches: The prompts and their tokens.
        texts: Texts for the tokenizer; empty where there is no tokenizer.
    """

    new: int
    ends: Sequence[int]
    fills: int
    batches: Sequence[Batch]
    texts: Sequence[Text]


class Decoder(Protocol):
    """A graph that keeps its cache between calls."""

    def start(self, rows: int) -> None:
        """Clears the cache; a batch with this number of rows follows."""

    def logits(self, ids: Array, mask: Array, positions: Array) -> Array:
        """Logits [rows, tokens, vocabulary] after each of these tokens; the next call may overwrite them.

        Args:
            ids: int64 [rows, tokens], the new tokens.
            mask: int64 [rows, all tokens so far]; 0 for padding, which is on the left.
            positions: int64 [rows, tokens].
        """


class Agreement(NamedTuple):
    """The result of a comparison.

    Args:
        equal: The number of equal tokens.
        open: The number of tokens that were not compared: those after a choice that is too close to call.
        wrong: The differences, a sentence each.
    """

    equal: int
    open: int
    wrong: Sequence[str]


def write_tokens(record: TokenRecord, path: Path) -> None:
    """Writes the record as JSON."""
    plain = {**record._asdict(), "batches": [b._asdict() for b in record.batches]}
    plain["texts"] = [t._asdict() for t in record.texts]
    path.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")


def read_tokens(path: Path) -> TokenRecord:
    """The record that `write_tokens` wrote. Raises OSError, ValueError, KeyError."""
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    batches, texts = [Batch(**b) for b in document["batches"]], [Text(**t) for t in document["texts"]]
    return TokenRecord(document["new"], document["ends"], document["fills"], batches, texts)


def padded(prompts: Rows, fills: int) -> tuple[Array, Array]:
    """Prompts of several lengths as ids and mask, int64 [rows, longest]; shorter ones are padded on the left."""
    np = module("numpy")
    width = max(map(len, prompts))
    ids = np.array([[fills] * (width - len(p)) + list(p) for p in prompts], np.int64)
    mask = np.array([[0] * (width - len(p)) + [1] * len(p) for p in prompts], np.int64)
    return ids, mask


def greedy(decoder: Decoder, prompts: Rows, new: int, ends: Collection[int], fills: int) -> list[list[int]]:
    """Greedy generation: each time the token with the largest logit.

    Args:
        decoder: The graph.
        prompts: Tokens, one row for each prompt.
        new: How many tokens follow, at most.
        ends: End tokens: a row ends before one of these.
        fills: The padding token.
    """
    np = module("numpy")
    ids, mask = padded(prompts, fills)
    positions = (mask.cumsum(axis=1) - 1).clip(0)
    decoder.start(len(prompts))
    rows: list[list[int]] = [[] for _ in prompts]
    done = [False] * len(prompts)
    for _ in range(new):
        chosen = decoder.logits(ids, mask, positions)[:, -1].argmax(axis=-1)
        for place, token in enumerate(chosen.tolist()):
            done[place] = done[place] or token in ends
            if not done[place]:
                rows[place].append(token)
        if all(done):
            break
        ids = chosen.astype(np.int64)[:, None]
        mask = np.concatenate([mask, np.ones((len(rows), 1), np.int64)], axis=1)
        positions = positions[:, -1:] + 1
    return rows


class _Watched:
    """A decoder that records by how much its choices were ahead."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self.margins: list[list[float]] = []

    def start(self, rows: int) -> None:
        self._decoder.start(rows)

    def logits(self, ids: Array, mask: Array, positions: Array) -> Array:
        logits = self._decoder.logits(ids, mask, positions)
        self.margins.append([margin(row) for row in logits[:, -1]])
        return logits


def recorded(decoder: Decoder, batch: Batch, record: TokenRecord) -> Batch:
    """The same prompts, with the tokens of another decoder in our own loop."""
    watched = _Watched(decoder)
    rows = greedy(watched, batch.prompts, record.new, record.ends, record.fills)
    steps = [min(len(row) + 1, len(watched.margins)) for row in rows]
    margins = [[watched.margins[n][place] for n in range(most)] for place, most in enumerate(steps)]
    return Batch(batch.label, batch.prompts, rows, margins)


def margin(logits: Array) -> float:
    """By how much the largest logit of a row is ahead of the second, as a share of the largest magnitude."""
    np = module("numpy")
    second, first = np.partition(logits.astype(np.float64), -2)[-2:]
    return float(f"{(first - second) / max(np.abs(logits).max(), np.finfo(np.float32).tiny):.3e}")


def ended(row: Sequence[int], ends: Collection[int]) -> list[int]:
    """A row up to the first end token, without that one: some runtimes return it, others do not."""
    return list(row[: next((place for place, token in enumerate(row) if token in ends), len(row))])


def agreement(rows: Rows, batch: Batch, least: float) -> Agreement:
    """Compares what follows each prompt, token by token.

    Args:
        rows: The tokens of a runtime.
        batch: The tokens of the PyTorch model.
        least: A different token is accepted where the model's is ahead of its second choice by no more than this, as a
            share of the largest logit; the rest of the row is then another text and is not compared.
    """
    equal = unclear = 0
    wrong: list[str] = []
    for place, (row, expected, margins) in enumerate(zip(rows, batch.tokens, batch.margins, strict=True)):
        where = f"{batch.label}, row {place + 1}" if len(batch.prompts) > 1 else batch.label
        differs = next((n for n, pair in enumerate(zip(row, expected, strict=False)) if pair[0] != pair[1]), None)
        if differs is None and len(row) != len(expected):
            differs = min(len(row), len(expected))
        if differs is None:
            equal += len(expected)
            continue
        equal += differs
        ahead = margins[differs] if differs < len(margins) else 1.0
        if ahead <= least:
            unclear += len(expected) - differs
            continue
        theirs = f"token {expected[differs]}" if differs < len(expected) else "the end"
        ours = f"token {row[differs]}" if differs < len(row) else "the end"
        wrong.append(
            f"{where}: at {differs + 1} comes {ours}, the model's is {theirs}, ahead of its second choice by "
            f"{ahead:.1%} of the largest logit"
        )
    return Agreement(equal, unclear, wrong)


def filling(decoder: Mapping[str, Any]) -> int:
    """The padding token of shorter rows: the decoder's own, or any other, since padding is masked.

    Args:
        decoder: The facts about the decoder; see interface/generation.py.
    """
    return int(decoder["pad"]) if decoder["pad"] is not None else int(next(iter(decoder["eos"]), 0))
