"""What a language model goes on with: the prompts that were asked, a loop that picks tokens, and the comparison.

The standard library and numpy alone: the self-check of a bundle carries this text; see delivery/bundle.py.
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
    """Prompts that are asked together, and what the PyTorch model goes on with.

    Args:
        label: Such as "7 tokens".
        prompts: Tokens, a row each; of several lengths.
        tokens: What follows each, up to the first token that ends a text, without that one.
        margins: By how much each of these, and the end, is ahead of the second choice, as a share of the largest logit.
    """

    label: str
    prompts: Rows
    tokens: Rows
    margins: Sequence[Sequence[float]]


class Text(NamedTuple):
    """A text and the tokens that the model's own tokenizer makes of it."""

    text: str
    tokens: Sequence[int]


class Asked(NamedTuple):
    """All that was asked.

    Args:
        new: How many tokens were to follow each prompt, at most.
        ends: Tokens that end a text.
        fills: The token that fills up shorter rows.
        batches: The prompts.
        texts: For the tokenizer; none where there is no tokenizer.
    """

    new: int
    ends: Sequence[int]
    fills: int
    batches: Sequence[Batch]
    texts: Sequence[Text]


class Decoder(Protocol):
    """A graph that keeps its cache between calls."""

    def start(self, rows: int) -> None:
        """Forgets everything; a batch of so many rows follows."""

    def step(self, ids: Array, mask: Array, positions: Array) -> Array:
        """Logits [rows, vocabulary] of the token after the last.

        Args:
            ids: int64 [rows, tokens], those that are new.
            mask: int64 [rows, all tokens so far]; 0 for what fills a row up, which is on the left.
            positions: int64 [rows, tokens].
        """


class Agreement(NamedTuple):
    """What a comparison found.

    Args:
        equal: Tokens that are the same.
        open: Tokens that were not compared: after one where two choices are too close to tell apart.
        wrong: What differs, a sentence each.
    """

    equal: int
    open: int
    wrong: Sequence[str]


def write_asked(asked: Asked, path: Path) -> None:
    """As JSON, a line for each batch."""
    plain = {**asked._asdict(), "batches": [b._asdict() for b in asked.batches]}
    plain["texts"] = [t._asdict() for t in asked.texts]
    path.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")


def read_asked(path: Path) -> Asked:
    """What `write_asked` wrote. Raises OSError, ValueError, KeyError."""
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    batches, texts = [Batch(**b) for b in told["batches"]], [Text(**t) for t in told["texts"]]
    return Asked(told["new"], told["ends"], told["fills"], batches, texts)


def padded(prompts: Rows, fills: int) -> tuple[Array, Array]:
    """Prompts of several lengths as ids and mask, int64 [rows, longest]; shorter ones are filled up on the left."""
    np = module("numpy")
    width = max(map(len, prompts))
    ids = np.array([[fills] * (width - len(p)) + list(p) for p in prompts], np.int64)
    mask = np.array([[0] * (width - len(p)) + [1] * len(p) for p in prompts], np.int64)
    return ids, mask


def greedy(decoder: Decoder, prompts: Rows, new: int, ends: Collection[int], fills: int) -> list[list[int]]:
    """What a decoder goes on with: the token of the largest logit, each time.

    Args:
        decoder: The graph.
        prompts: Tokens, a row each.
        new: How many tokens follow, at most.
        ends: A row is at its end before one of these.
        fills: Fills rows up.
    """
    np = module("numpy")
    ids, mask = padded(prompts, fills)
    positions = (mask.cumsum(axis=1) - 1).clip(0)
    decoder.start(len(prompts))
    rows: list[list[int]] = [[] for _ in prompts]
    done = [False] * len(prompts)
    for _ in range(new):
        chosen = decoder.step(ids, mask, positions).argmax(axis=-1)
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
    """A decoder, and by how much its choices were ahead."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self.margins: list[list[float]] = []

    def start(self, rows: int) -> None:
        self._decoder.start(rows)

    def step(self, ids: Array, mask: Array, positions: Array) -> Array:
        logits = self._decoder.step(ids, mask, positions)
        self.margins.append([margin(row) for row in logits])
        return logits


def recorded(decoder: Decoder, batch: Batch, asked: Asked) -> Batch:
    """The same prompts with what a decoder goes on with in our own loop."""
    watched = _Watched(decoder)
    rows = greedy(watched, batch.prompts, asked.new, asked.ends, asked.fills)
    steps = [min(len(row) + 1, len(watched.margins)) for row in rows]
    margins = [[watched.margins[n][place] for n in range(most)] for place, most in enumerate(steps)]
    return Batch(batch.label, batch.prompts, rows, margins)


def margin(logits: Array) -> float:
    """By how much the largest of a row is ahead of the second, as a share of the largest magnitude."""
    np = module("numpy")
    second, first = np.partition(logits.astype(np.float64), -2)[-2:]
    return float(f"{(first - second) / max(np.abs(logits).max(), np.finfo(np.float32).tiny):.3e}")


def ended(row: Sequence[int], ends: Collection[int]) -> list[int]:
    """A row up to the first token that ends a text, without that one: some runtimes give it back, others do not."""
    return list(row[: next((place for place, token in enumerate(row) if token in ends), len(row))])


def agreement(found: Rows, batch: Batch, least: float) -> Agreement:
    """Compares what follows each prompt, token by token.

    Args:
        found: What a runtime went on with.
        batch: What the PyTorch model did.
        least: Where another token was picked and the model's is ahead of its second choice by no more than this, as a
            share of the largest logit, the rest of the row is another text and is not compared.
    """
    equal = unclear = 0
    wrong: list[str] = []
    for place, (row, wanted, margins) in enumerate(zip(found, batch.tokens, batch.margins, strict=True)):
        where = f"{batch.label}, row {place + 1}" if len(batch.prompts) > 1 else batch.label
        differs = next((n for n, pair in enumerate(zip(row, wanted, strict=False)) if pair[0] != pair[1]), None)
        if differs is None and len(row) != len(wanted):
            differs = min(len(row), len(wanted))
        if differs is None:
            equal += len(wanted)
            continue
        equal += differs
        ahead = margins[differs] if differs < len(margins) else 1.0
        if ahead <= least:
            unclear += len(wanted) - differs
            continue
        theirs = f"token {wanted[differs]}" if differs < len(wanted) else "the end"
        ours = f"token {row[differs]}" if differs < len(row) else "the end"
        wrong.append(
            f"{where}: at {differs + 1} comes {ours}, the model's is {theirs}, ahead of its second choice by "
            f"{ahead:.1%} of the largest logit"
        )
    return Agreement(equal, unclear, wrong)


def filling(told: Mapping[str, Any]) -> int:
    """The token that fills up shorter rows: a decoder's own, or any, since what is masked is not looked at.

    Args:
        told: What the decoder is; see interface/generation.py.
    """
    return int(told["pad"]) if told["pad"] is not None else int(next(iter(told["eos"]), 0))
