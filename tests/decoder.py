"""A decoder of one block with a cache, small enough to read, and typical faults of decoders."""

from __future__ import annotations

import math

import torch
from torch import nn

from stages.interface.interface import Dim, Input

WORDS, WIDTH, HEADS = 23, 8, 2
WINDOW = 6
DIMS = {"batch": Dim(1, 2, 4), "sequence": Dim(1, 7, 12), "past": Dim(0, 5, 12)}
CACHE = ["batch", HEADS, "past", WIDTH // HEADS]
INPUTS = {
    "input_ids": Input(["batch", "sequence"], "int64", {"integers": [0, WORDS]}),
    "attention_mask": Input(["batch", "past+sequence"], "int64", {"mask": "left"}),
    "position_ids": Input(["batch", "sequence"], "int64", {"positions": "attention_mask"}),
    "past.0.key": Input(CACHE, "float32", {"cache": "present.0.key"}),
    "past.0.value": Input(CACHE, "float32", {"cache": "present.0.value"}),
}
OUTPUTS = ["logits", "present.0.key", "present.0.value"]
FAULTS = (
    "mask dropped",
    "positions from zero",
    "cache joined in the wrong order",
    "window off by one",
    "rotary halves swapped",
    "past frozen",
    "embedding untied",
)


class Decoder(nn.Module):
    """Embedding, one attention over a window with rotary positions, and the embedding again as the head.

    Args:
        fault: One of FAULTS; empty for none.
    """

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fault = fault
        self.table = nn.Embedding(WORDS, WIDTH)
        self.attends, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, WORDS, bias=False)
        self.head.weight = nn.Parameter(self.table.weight + (fault == "embedding untied") * 0.3)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        position_ids: torch.Tensor,
        past_key: torch.Tensor,
        past_value: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        batch, now = input_ids.shape
        before = 5 if self.fault == "past frozen" else past_key.shape[2]
        if self.fault == "positions from zero":
            position_ids = 0 * position_ids + torch.arange(now) + before
        embedded = self.table(input_ids)
        shape = (batch, now, HEADS, WIDTH // HEADS)
        query, key, value = (t.reshape(shape).transpose(1, 2) for t in self.attends(embedded).chunk(3, -1))
        query, key = self.turned(query, position_ids), self.turned(key, position_ids)
        key, value = self.joined(past_key, key), self.joined(past_value, value)
        here, there = torch.arange(now)[:, None] + before, torch.arange(key.shape[2])
        visible = (there <= here) & (there > here - WINDOW - int(self.fault == "window off by one"))
        visible = visible & (attention_mask[:, None, None, :] > (-1 if self.fault == "mask dropped" else 0))
        scores = (query @ key.transpose(2, 3) / math.sqrt(WIDTH // HEADS)).masked_fill(~visible, -1e9)
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(batch, now, WIDTH)
        return self.head(embedded + self.out(mixed)), key, value

    def turned(self, x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Rotary positions, on halves."""
        one, other = x.chunk(2, -1)
        if self.fault == "rotary halves swapped":
            one, other = other, one
        angle = positions[:, None, :, None] / 3.0
        return torch.cat([one * angle.cos() - other * angle.sin(), other * angle.cos() + one * angle.sin()], -1)

    def joined(self, past: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """The cache with the new keys and values."""
        both = (new, past) if self.fault == "cache joined in the wrong order" else (past, new)
        return torch.cat(both, 2)
