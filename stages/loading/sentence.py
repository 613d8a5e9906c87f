"""Sentence embeddings: a transformers model whose tokens become one vector, as in sentence-transformers.

Source: https://sbert.net/docs/sentence_transformer/usage/custom_models.html
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from stages.loading import sentence_folder
from stages.loading.sentence_folder import CONFIG, WEIGHTS


class SentenceModel(nn.Module):
    """Takes token ids; returns one vector per sentence, as `sentence_embedding`.

    Args:
        base: The transformers model, which returns `last_hidden_state`, [batch, sequence, hidden].
        modes: Modes of sentence_folder.POOLING; the vectors of several modes are joined.
        after: The modules that follow: dense layers, and normalisation to length 1.
    """

    main_input_name = "input_ids"

    def __init__(self, base: nn.Module, modes: tuple[str, ...], after: list[nn.Module]) -> None:
        super().__init__()
        self.base, self.modes, self.after = base, modes, nn.ModuleList(after)
        self.config = base.config
        if "token_type_ids" not in inspect.signature(base.forward).parameters:
            self.forward = self._without_types  # type: ignore[method-assign, assignment]

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        return self._pooled(attention_mask, input_ids=input_ids, token_type_ids=token_type_ids)

    def _without_types(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
        return self._pooled(attention_mask, input_ids=input_ids)

    def _pooled(self, mask: torch.Tensor, **ids: torch.Tensor | None) -> dict[str, torch.Tensor]:
        tokens = self.base(attention_mask=mask, **ids).last_hidden_state
        vector = torch.cat([pooled(tokens, mask, mode) for mode in self.modes], dim=-1)
        for part in self.after:
            vector = part(vector)
        return {"sentence_embedding": vector}

    @classmethod
    def from_pretrained(cls, folder: Path, **kwargs: Any) -> Any:
        """As AutoModel.from_pretrained, with the folder's modules added. Raises ConfigError for unknown modules."""
        from transformers import AutoModel

        base, info = AutoModel.from_pretrained(folder, **kwargs)
        modes: tuple[str, ...] = ()
        after: list[nn.Module] = []
        for kind, place in sentence_folder.modules(folder):
            if kind == "Pooling":
                modes = sentence_folder.modes_of(sentence_folder.read(place / CONFIG))
            elif kind == "Dense":
                after.append(_dense(place, base.dtype))
            elif kind == "Normalize":
                after.append(Normalize())
        return cls(base, modes or ("mean_tokens",), after), info


class Normalize(nn.Module):
    """Scales vectors to length 1."""

    def forward(self, vector: torch.Tensor) -> torch.Tensor:
        return functional.normalize(vector, p=2.0, dim=-1)


def pooled(tokens: torch.Tensor, mask: torch.Tensor, mode: str) -> torch.Tensor:
    """One vector for each row of tokens, [batch, hidden], as in sentence_transformers' Pooling.

    Args:
        tokens: [batch, sequence, hidden].
        mask: [batch, sequence]; 0 for padding.
        mode: One of sentence_folder.POOLING.
    """
    there = mask.unsqueeze(-1).to(tokens.dtype)
    if mode == "cls_token":
        return tokens[:, 0]
    if mode == "max_tokens":
        return tokens.masked_fill(there == 0, -1e9).max(dim=1).values
    if mode == "lasttoken":
        place = torch.arange(1, mask.shape[1] + 1, device=mask.device) * (mask != 0)
        return tokens.gather(1, place.argmax(dim=1)[:, None, None].expand(-1, 1, tokens.shape[-1]))[:, 0]
    if mode == "weightedmean_tokens":
        there = there * torch.arange(1, mask.shape[1] + 1, device=mask.device)[None, :, None].to(tokens.dtype)
    total, count = (tokens * there).sum(dim=1), there.sum(dim=1).clamp(min=1e-9)
    return total / (count.sqrt() if mode == "mean_sqrt_len_tokens" else count)


def _dense(place: Path, dtype: torch.dtype) -> nn.Module:
    config = sentence_folder.read(place / CONFIG)
    layer = nn.Linear(config["in_features"], config["out_features"], bias=config.get("bias", True)).to(dtype)
    path = next((place / n for n in WEIGHTS if (place / n).is_file()), place / WEIGHTS[0])
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        state = load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    layer.load_state_dict({name.removeprefix("linear."): tensor for name, tensor in state.items()})
    function = str(config.get("activation_function", "torch.nn.modules.activation.Tanh")).rpartition(".")[2]
    activation = getattr(nn.modules.activation, function, None) or getattr(nn, function)
    return nn.Sequential(layer, activation())
