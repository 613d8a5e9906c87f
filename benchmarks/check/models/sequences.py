"""Small models of text, sound, tables and sequences."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.check.models.trained import trained


class Bert(nn.Module):
    """A text classifier of the transformers library, with its mask."""

    def __init__(self) -> None:
        from transformers import BertConfig, BertForSequenceClassification

        super().__init__()
        config = BertConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            vocab_size=200,
            max_position_embeddings=40,
            num_labels=4,
        )
        self.inner = BertForSequenceClassification(config)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        scores: Tensor = self.inner(input_ids=ids, attention_mask=mask).logits
        return scores


def bert() -> nn.Module:
    return trained(Bert(), 11)


class Tagger(nn.Module):
    """A label for each word: an LSTM both ways, then a GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(300, 24, padding_idx=0)
        self.lstm = nn.LSTM(24, 20, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(40, 24, batch_first=True)
        self.tags = nn.Linear(24, 9)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        states, _ = self.lstm(self.words(ids))
        states, last = self.gru(torch.tanh(states))
        return self.tags(states).log_softmax(-1), last[0]


def tagger() -> nn.Module:
    return trained(Tagger(), 12)


class Recommender(nn.Module):
    """Tables by id, a history of ids where 0 is padding, and numbers beside: one probability."""

    def __init__(self) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(200, 16), nn.Embedding(1000, 16, padding_idx=0)
        self.places, self.hours = nn.Embedding(50, 8), nn.Embedding(24, 8)
        self.a, self.b, self.c = nn.Linear(50, 32), nn.Linear(32, 16), nn.Linear(16, 1)

    def forward(self, user: Tensor, place: Tensor, hour: Tensor, history: Tensor, amounts: Tensor) -> Tensor:
        visible = (history > 0).unsqueeze(-1).float()
        liked = (self.items(history) * visible).sum(1) / visible.sum(1).clamp(min=1)
        numbers = torch.log1p(amounts.clamp(min=0)) / 3
        tables = [self.users(user), liked, self.places(place), self.hours(hour.clamp(0, 23)), numbers]
        x = functional.relu(self.a(torch.cat(tables, 1)))
        return torch.sigmoid(self.c(functional.relu(self.b(x))))[:, 0]


def recommender() -> nn.Module:
    return trained(Recommender(), 13)


class Sound(nn.Module):
    """A wave to features and back: log of energies, gates, causal attention, running sums, a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm = nn.Conv1d(1, 32, 8, 4), nn.GroupNorm(4, 32)
        self.gate, self.qkv = nn.Conv1d(32, 48, 3, padding=1), nn.Linear(24, 72)
        self.back, self.out = (
            nn.ConvTranspose1d(24, 8, 6, 3, padding=1, output_padding=1),
            nn.Conv1d(8, 1, 3, padding=1),
        )

    def forward(self, wave: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.log(self.a(wave.unsqueeze(1)).pow(2) + 1e-6)
        x = functional.glu(self.gate(self.norm(x)), dim=1).transpose(1, 2)
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 12)).permute(2, 0, 3, 1, 4).unbind(0)
        x = x + functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = functional.normalize(x.cumsum(1), dim=-1)
        return torch.tanh(self.out(functional.softplus(self.back(x.transpose(1, 2))))), x.mean(1)


def sound() -> nn.Module:
    return trained(Sound(), 14)


class Cross(nn.Module):
    """One sequence asks another, by two kinds of attention, with a mask of what may be seen."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.kv, self.out = nn.Linear(16, 24), nn.Linear(12, 48), nn.Linear(24, 16)
        self.mha = nn.MultiheadAttention(16, 2, kdim=12, vdim=12, batch_first=True)
        self.norm, self.up, self.down = nn.LayerNorm(16), nn.Linear(16, 48), nn.Linear(48, 16)

    def forward(self, asking: Tensor, source: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        def heads(x: Tensor) -> Tensor:
            return x.unflatten(-1, (2, 12)).transpose(1, 2)

        visible = mask.bool()
        k, v = self.kv(source).chunk(2, -1)
        x = functional.scaled_dot_product_attention(
            heads(self.q(asking)), heads(k), heads(v), attn_mask=visible[:, None, None, :]
        )
        x = asking + self.out(x.transpose(1, 2).flatten(2))
        more, weights = self.mha(self.norm(x), source, source, key_padding_mask=~visible)
        x = self.norm(x + more)
        return x + self.down(functional.gelu(self.up(x), approximate="tanh")), weights


def cross() -> nn.Module:
    return trained(Cross(), 15)


class Forecaster(nn.Module):
    """Series to quantiles: scaled by what was seen, dilated convolutions, a calendar, bounds that are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv1d(4, 24, 3, padding=2, dilation=2), nn.Conv1d(24, 24, 3, padding=4, dilation=4)
        self.days, self.head = nn.Embedding(7, 8), nn.Linear(32, 3)
        self.norm = nn.LayerNorm(24)

    def forward(self, series: Tensor, day: Tensor) -> tuple[Tensor, Tensor]:
        mean = series.mean(1, keepdim=True)
        scale = series.var(1, unbiased=False, keepdim=True).add(1e-5).sqrt()
        x = ((series - mean) / scale).clamp(-6, 6).transpose(1, 2)
        x = functional.relu(self.a(x))
        x = self.norm((functional.mish(self.b(x)) + x).amax(2))
        x = self.head(torch.cat([x, self.days((day + 1) % 7)], 1))
        low, more = x[:, :1], functional.softplus(x[:, 1:]).cumsum(1)
        quantiles = torch.cat([low, low + more], 1) * scale[:, 0, :1] + mean[:, 0, :1]
        rises = torch.where(series[:, 1:] > series[:, :-1], 1.0, 0.0)
        return quantiles, rises.mean((1, 2)).exp()


def forecaster() -> nn.Module:
    return trained(Forecaster(), 16)
