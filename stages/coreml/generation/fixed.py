"""A decoder with a cache of fixed length; a call writes its keys and values at its position.

Core ML's states have one size. So the inputs and outputs have keys and values for all possible tokens, [1, heads,
length, head_dim]. New ones replace those from `position` on, and no token attends to what lies behind it.

Source: transformers/cache_utils.py of 5.23, StaticLayer, which counts the tokens itself
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from pipeline.errors import CheckFailed, ConfigError, listed
from stages.interface.generation import ATTENTION, SLIDING, Cache, Generation
from stages.interface.interface import Dim, Input, Interface, Output

IDS, POSITION, LOGITS, SEQUENCE = "input_ids", "position", "logits", "sequence"
# How far logits of a text in pieces may be from those in one call, as a share of the largest: sums have another order.
SAME = {"torch.float32": 1e-4}
SAME_OF_FEWER_BITS = 5e-2
MOST_COMPARED = 256  # tokens of the text that is compared in one call and in pieces


class FixedLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one block.

    Args:
        keys: [1, heads, length, head_dim].
        values: [1, heads, length, head_dim].
        before: How many tokens came before, int64 [1].
        places: The positions of this call's tokens, int64 [tokens].
    """

    is_compileable = True  # else a call of one token at the beginning would attend to what lies behind it

    def __init__(self, keys: Any, values: Any, before: Any, places: Any) -> None:
        super().__init__()
        self.keys, self.values = keys, values
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True
        self._before, self._places = before, places

    def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Writes the new keys and values. Those outside a window stay: the mask hides them."""
        self.keys = self.keys.index_copy(2, self._places, key_states)
        self.values = self.values.index_copy(2, self._places, value_states)
        return self.keys, self.values

    def get_seq_length(self) -> Any:
        return self._before

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.keys.shape[2], 0


class FixedCache(nn.Module):
    """Takes tokens, how many came before, and the cache; returns `logits` [1, tokens, vocabulary] and the cache.

    Args:
        model: A stages.loading.causal_lm.CausalLM.
        length: How many tokens the cache has room for.

    Raises:
        ConfigError: For a cache that is more than keys and values.
    """

    def __init__(self, model: Any, length: int) -> None:
        super().__init__()
        self.decoder = model.decoder
        self._positions, self._parts, self._length = model.positions, model.cache_tensors, length
        if others := sorted({h.kind for h in model.cache_tensors} - {ATTENTION, SLIDING}):
            raise ConfigError(
                f"{type(model.decoder).__name__} keeps {listed(others)} states; Core ML's cache is keys and values",
                allowed="a decoder of attention alone, such as llama, gpt2, qwen3, phi3, gemma2 or bloom",
                command="target=onnx or target=openvino, which take them",
            )

    def forward(self, input_ids: Any, position: Any, *past: Any) -> tuple[Any, ...]:
        """position says how many tokens came before, int64 [1]; `past` has keys and values of each block."""
        places = position + torch.arange(input_ids.shape[1], device=input_ids.device)
        cache = DynamicCache()
        cache.layers = [FixedLayer(*pair, position, places) for pair in zip(past[::2], past[1::2], strict=True)]
        cache.layer_class_to_replicate = None
        room = torch.arange(self._length, device=input_ids.device)
        mask = (room <= places[-1:])[None].to(torch.int64)
        own = {"position_ids": places[None]} if self._positions else {}
        returned = self.decoder(input_ids=input_ids, attention_mask=mask, past_key_values=cache, use_cache=True, **own)
        return (returned.logits, *(t for layer in cache.layers for t in (layer.keys, layer.values)))

    @property
    def names(self) -> list[str]:
        """The names of the parts of the cache."""
        return [f"{ {'keys': 'key', 'values': 'value'}[h.field] }_cache_{h.layer}" for h in self._parts]

    def interface(self, sequence: Dim, vocabulary: int) -> Interface:
        """The interface.

        Args:
            sequence: How many tokens a call has.
            vocabulary: How many tokens there are.
        """
        dtype = str(self.decoder.dtype).removeprefix("torch.")
        shapes = {n: [1, h.shape[1], self._length, h.shape[3]] for n, h in zip(self.names, self._parts, strict=True)}
        inputs = {
            IDS: Input([1, SEQUENCE], "int64", {"integers": [0, vocabulary]}),
            POSITION: Input([1], "int64", {"integers": [0, self._length - sequence.max + 1]}),
            **{n: Input(s, dtype, {"cache": after(n)}) for n, s in shapes.items()},
        }
        outputs = {LOGITS: Output([0], [1, SEQUENCE, vocabulary], dtype)}
        outputs |= {after(n): Output([place], s, dtype) for place, (n, s) in enumerate(shapes.items(), 1)}
        return Interface(inputs, {SEQUENCE: sequence}, outputs)

    def generation(self, before: Generation) -> Generation:
        """The decoder's facts, from those with a growing cache."""
        pairs = zip(self.names, self._parts, strict=True)
        cache = [Cache(n, after(n), h.kind, None) for n, h in pairs]
        return replace(before, cache=cache, positions=min(before.positions, self._length))

    def demand(self, generation: Generation, most: int, seed: int = 0) -> str:
        """Compares a text in pieces, with a cache that starts with other numbers, with one call without a cache.

        Args:
            generation: The decoder's facts.
            most: Tokens of one call, at most.
            seed: For the text.

        Returns the comparison in words.

        Raises:
            CheckFailed: When the logits differ.
        """
        beyond = (generation.window or 0) + 4
        total = min(self._length, MOST_COMPARED, max(24, beyond))
        drawn = torch.Generator().manual_seed(seed)
        ids = torch.randint(0, generation.vocabulary, (1, total), generator=drawn)
        shapes = [(1, h.shape[1], self._length, h.shape[3]) for h in self._parts]
        past: Sequence[Any] = [torch.ones(shape, dtype=self.decoder.dtype) for shape in shapes]
        parts = []
        with torch.inference_mode():
            expected = self.decoder(input_ids=ids, use_cache=False).logits
            for start, size in _pieces(total, most):
                logits, *past = self(ids[:, start : start + size], torch.tensor([start]), *past)
                parts.append(logits)
        error = float((torch.cat(parts, 1) - expected).abs().max() / expected.abs().max())
        bound = SAME.get(str(self.decoder.dtype), SAME_OF_FEWER_BITS)
        if not error <= bound:
            raise CheckFailed(
                f"with a cache of {self._length} tokens, {type(self.decoder).__name__} computes a text in pieces "
                f"differently from one call: logits differ by {error:.1e} of the largest",
                allowed=f"a decoder that uses its cache, its mask and its positions; a difference up to {bound:g}",
                command="target=onnx or target=openvino, whose caches grow",
            )
        return f"{total} tokens in pieces as in one call, to {error:.1e}"


def after(name: str) -> str:
    """The output name of a part of the cache."""
    return f"{name}_new"


def _pieces(total: int, most: int) -> list[tuple[int, int]]:
    """A text in calls of 1, 7, 1 and then as many tokens as a call may have: start and size of each."""
    pieces: list[tuple[int, int]] = []
    start = 0
    for size in (1, 7, 1, *[most] * total):
        if start < total:
            pieces.append((start, min(size, most, total - start)))
            start += pieces[-1][1]
    return pieces
