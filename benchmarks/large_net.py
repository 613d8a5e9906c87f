"""A model whose weights do not fit into one protobuf: twelve transformer blocks, 2.25 GiB in float32."""

from __future__ import annotations

import torch
from torch import nn

WIDTH, BLOCKS, HEADS = 2048, 12, 16


class Block(nn.Module):
    """Attention and a feed-forward net, each normalised first and added to what came in: twelve width² of weights."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.project = _linear(width, 3 * width), _linear(width, width)
        self.widen, self.narrow = _linear(width, 4 * width), _linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        parts = self.query_key_value(self.before_attention(x)).reshape(batch, length, 3, self.heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.project(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.narrow(nn.functional.gelu(self.widen(self.before_feed(x))))


class Stack(nn.Module):
    """The blocks, and ten scores from the mean of what they return."""

    def __init__(self, width: int = WIDTH, blocks: int = BLOCKS, heads: int = HEADS) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(blocks)))
        self.head = _linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(x).mean(1))


def _linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer, filled faster than nn.Linear fills itself: so many weights would take it longer than a stage."""
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
    nn.init.zeros_(layer.bias)
    # One row of draws, shifted from line to line: enough to tell every weight from its neighbours and its transpose.
    drawn = torch.randn(3 * outputs + inputs) * inputs**-0.5
    layer.weight.data.copy_(drawn.as_strided((outputs, inputs), (3, 1)))
    return layer
