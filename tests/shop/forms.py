"""Models whose forward takes and returns more than one tensor each, with the types that TorchScript wants."""

import torch
from torch import nn


def bert():
    """A text classifier of transformers, small and with random weights."""
    from transformers import BertConfig, BertForSequenceClassification

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    return BertForSequenceClassification(BertConfig(vocab_size=60, max_position_embeddings=32, num_labels=3, **sizes))


class Two(nn.Module):
    """An image, and a gain for each of its channels."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, image: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        return self.conv(image * gain[:, :, None, None])


class Mapping(nn.Module):
    """Word numbers and a mask in a mapping; scores and what they are made of in another, which nests."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(40, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, text: dict[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
        mask = text["mask"].unsqueeze(-1)
        tokens = self.embedding(text["ids"]) * mask
        mean = tokens.sum(1) / mask.sum(1)
        return {"scores": {"raw": self.head(mean)}, "hidden": {"tokens": tokens, "mean": mean}}


class Pair(nn.Module):
    """One argument that is a tuple, and a plain number."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, 6)

    def forward(self, pair: tuple[torch.Tensor, torch.Tensor], scale: float) -> tuple[torch.Tensor, torch.Tensor]:
        query, key = pair
        match = self.head(query) @ key.transpose(1, 2) * scale
        return match, match.softmax(-1)


def vit():
    """torchvision's vision transformer, small."""
    from torchvision.models import VisionTransformer

    return VisionTransformer(image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32)


@torch.jit.script
def gated(x: torch.Tensor, scale: float, flip: bool) -> torch.Tensor:
    """A ScriptFunction: no module, no weights."""
    y = x * scale
    if flip:
        y = -y
    return y.sigmoid() * x
