"""A decoder of transformers with its cache as inputs and outputs: one graph for the prompt and for what follows.

Names are those that ORTModel, transformers.js and onnxruntime-genai read: past_key_values.0.key, present.0.key.

Source: transformers/cache_utils.py of 5.23
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer, LinearAttentionLayer

from pipeline.errors import ConfigError
from stages.interface import lengths
from stages.interface.generation import ATTENTION, CONVOLUTION, SLIDING, STATE, UNLIMITED, Cache, Generation
from stages.interface.interface import Dim, Input, Interface, Output
from stages.loading.decoders import recurrence
from stages.portable.vendor_errors import first_line

IDS, MASK, POSITIONS, LOGITS = "input_ids", "attention_mask", "position_ids", "logits"
BATCH, SEQUENCE, PAST, TOTAL = "batch", "sequence", "past", "past+sequence"
WITHOUT = "model=transformers, which takes the model without its cache"
TOKENS = 2  # the number of tokens that shows the cache's shapes


@dataclass(frozen=True)
class CacheTensor:
    """One tensor of a cache.

    Args:
        layer: The number of its block.
        field: Its name in the block's cache: keys, values, conv_states or recurrent_states.
        kind: One of generation.py's.
        shape: The shape of the input, as in an interface.
    """

    layer: int
    field: str
    kind: str
    shape: tuple[Any, ...]

    @property
    def cache(self) -> Cache:
        """Its names as an input and an output."""
        if self.kind in (ATTENTION, SLIDING):
            part = {"keys": "key", "values": "value"}[self.field]
            return Cache(f"past_key_values.{self.layer}.{part}", f"present.{self.layer}.{part}", self.kind, 2)
        return Cache(f"past_{self.kind}.{self.layer}", f"present_{self.kind}.{self.layer}", self.kind, None)


class Grown(DynamicLayer):  # type: ignore[misc]
    """Keys and values of all tokens, [batch, heads, tokens, head_dim]; there may be no tokens.

    Those beyond a sliding window stay too: the mask hides them, and every runtime lets a cache grow.
    """

    def __init__(self, keys: Any, values: Any) -> None:
        super().__init__()
        self.keys, self.values = keys, values
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True

    def get_seq_length(self) -> Any:
        return self.keys.shape[-2]


class CausalLM(nn.Module):
    """Tokens and a cache in; `logits` [batch, sequence, vocabulary] and the new cache out, as in `cache_tensors`.

    Args:
        decoder: A model of transformers for causal language modelling.

    Raises:
        ConfigError: For a model that is no decoder, or has an unknown kind of cache.
    """

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.decoder = decoder
        parameters = _parameters(decoder)
        self._cache_as = "past_key_values" if "past_key_values" in parameters else "cache_params"
        self.positions = POSITIONS in parameters
        self.cache_tensors = _cache_tensors(decoder, self._cache_as)
        # Without keys and values, blocks take the mask of this call only.
        self._grows = any(h.cache.axis is not None for h in self.cache_tensors)

    @property
    def text(self) -> Any:
        """The configuration of the part that reads text."""
        return self.decoder.config.get_text_config(decoder=True)

    def forward(self, input_ids: Any, attention_mask: Any, *more: Any) -> tuple[Any, ...]:
        """`more` is position_ids, if the model has them, and then the cache."""
        positions = dict(zip([POSITIONS], more, strict=False)) if self.positions else {}
        cache = self._cache(more[len(positions) :])
        states = [
            tensor for h, tensor in zip(self.cache_tensors, more[len(positions) :], strict=True) if h.kind == STATE
        ]
        mask = attention_mask if self._grows else recurrence.of_call(attention_mask, input_ids.shape[1])
        with recurrence.going_on(self.decoder, states):
            returned = self.decoder(
                input_ids=input_ids, attention_mask=mask, use_cache=True, **{**positions, self._cache_as: cache}
            )
        return (returned.logits, *(_field(cache.layers[h.layer], h.field) for h in self.cache_tensors))

    def _cache(self, past: Sequence[Any]) -> Any:
        by_layer: dict[int, dict[str, Any]] = {}
        for own, tensor in zip(self.cache_tensors, past, strict=True):
            by_layer.setdefault(own.layer, {})[own.field] = tensor
        cache = DynamicCache()
        cache.layers = [_layer(tensors) for _, tensors in sorted(by_layer.items())]
        cache.layer_class_to_replicate = None
        return cache

    def interface(self, dims: Mapping[str, Dim]) -> Interface:
        """The inputs and outputs, with the ranges of batch, sequence and past."""
        vocabulary = self.text.vocab_size
        inputs = {
            IDS: Input([BATCH, SEQUENCE], "int64", {"integers": [0, vocabulary]}),
            MASK: Input([BATCH, TOTAL], "int64", {"mask": "left"}),
        }
        if self.positions:
            inputs[POSITIONS] = Input([BATCH, SEQUENCE], "int64", {"positions": MASK})
        dtype = str(self.decoder.dtype).removeprefix("torch.")
        inputs |= {h.cache.input: Input(list(h.shape), dtype, {"cache": h.cache.output}) for h in self.cache_tensors}
        outputs = {LOGITS: Output([0], [BATCH, SEQUENCE, vocabulary], dtype)}
        for place, own in enumerate(self.cache_tensors, 1):
            shape = [TOTAL if size == PAST else size for size in own.shape]
            outputs[own.cache.output] = Output([place], shape, dtype)
        return Interface(inputs, {name: dims[name] for name in (BATCH, SEQUENCE, PAST)}, outputs)

    def beyond(self) -> list[str]:
        """The special tokens (begin, end, padding) that are not in the vocabulary, as "eos 32000"."""
        return [f"{name} {n}" for name, ids in self._special() for n in ids if n >= self.text.vocab_size]

    def _special(self) -> Iterator[tuple[str, list[int]]]:
        for name in ("eos", "bos", "pad"):
            yield name, _ids(getattr(self.decoder.generation_config, f"{name}_token_id"))

    def generation(self) -> Generation:
        """What generation needs besides the interface."""
        text, special = self.text, {name: [n for n in ids if n < self.text.vocab_size] for name, ids in self._special()}
        keys = next((h for h in self.cache_tensors if h.field == "keys"), None)
        window = getattr(text, "sliding_window", None)
        heads = getattr(text, "num_attention_heads", 0)
        return Generation(
            cache=[h.cache for h in self.cache_tensors],
            vocabulary=text.vocab_size,
            positions=lengths.positions(text) or UNLIMITED,
            window=window if any(h.kind == SLIDING for h in self.cache_tensors) else None,
            model_type=self.decoder.config.model_type,
            eos=special["eos"],
            bos=next(iter(special["bos"]), None),
            pad=next(iter(special["pad"]), None),
            layers=text.num_hidden_layers,
            kv_heads=int(keys.shape[1]) if keys else 0,
            head_dim=int(keys.shape[3]) if keys else 0,
            heads=heads,
            hidden=text.hidden_size,
        )


def _parameters(decoder: Any) -> list[str]:
    import inspect

    parameters = list(inspect.signature(decoder.forward).parameters)
    if decoder.config.is_encoder_decoder or not {"past_key_values", "cache_params"} & {*parameters}:
        raise ConfigError(
            f"{type(decoder).__name__} is no decoder with a cache",
            allowed="a class for causal language modelling, such as LlamaForCausalLM",
            command=WITHOUT,
        )
    return parameters


def _cache_tensors(decoder: Any, cache_as: str) -> list[CacheTensor]:
    """The tensors of a model's cache, from a run on two tokens."""
    cache = DynamicCache(config=decoder.config)
    ids = torch.zeros((1, TOKENS), dtype=torch.long, device=decoder.device)
    training = decoder.training
    try:
        with torch.no_grad():
            decoder.eval()(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=True, **{cache_as: cache})
    except Exception as e:  # a model raises anything
        raise ConfigError(
            f"{type(decoder).__name__} cannot be asked with the library's usual cache: {first_line(e)}",
            allowed="a model whose cache is a DynamicCache",
            command=WITHOUT,
        ) from e
    decoder.train(training)
    by_block: list[CacheTensor] = []
    for number, layer in enumerate(cache.layers):
        if type(layer) in (DynamicLayer, DynamicSlidingWindowLayer):
            kind = SLIDING if layer.is_sliding else ATTENTION
            sizes = {"keys": layer.keys.shape, "values": layer.values.shape}
            by_block += [CacheTensor(number, n, kind, (BATCH, s[1], PAST, s[3])) for n, s in sizes.items()]
        elif type(layer) is LinearAttentionLayer and layer.number_of_states == 1 and _goes_on(decoder, layer):
            states = {"conv_states": CONVOLUTION, "recurrent_states": STATE}
            tensors = {n: getattr(layer, n)[0] for n in states}
            by_block += [
                CacheTensor(number, n, states[n], (BATCH, *t.shape[1:])) for n, t in tensors.items() if t is not None
            ]
        else:
            raise ConfigError(
                f"{type(decoder).__name__} keeps a cache not known here, {type(layer).__name__} of block {number}",
                allowed="keys and values, whole or of a window; one state of a convolution or a recurrence",
                command=WITHOUT,
            )
    return by_block


def _goes_on(decoder: Any, layer: Any) -> bool:
    """Whether several tokens can start from a layer's state: always for a convolution."""
    return layer.recurrent_states[0] is None or recurrence.has(decoder)


def _layer(tensors: Mapping[str, Any]) -> Any:
    """The cache of one block, filled with earlier tokens."""
    if "keys" in tensors:
        return Grown(tensors["keys"], tensors["values"])
    layer = LinearAttentionLayer()
    # Copies: the layer writes into them, and a graph's inputs must not be written to.
    state = {name: tensor.clone() for name, tensor in tensors.items()}
    layer.conv_states[0], layer.recurrent_states[0] = state.get("conv_states"), state.get("recurrent_states")
    layer.is_conv_states_initialized[0] = "conv_states" in state
    layer.is_recurrent_states_initialized[0] = "recurrent_states" in state
    layer.has_previous_state[0] = True
    if (conv := layer.conv_states[0]) is not None:
        layer.dtype, layer.device, layer.conv_kernel_size[0] = conv.dtype, conv.device, conv.shape[-1]
    return layer


def _field(layer: Any, name: str) -> Any:
    tensor = getattr(layer, name)
    return tensor[0] if isinstance(tensor, dict) else tensor


def _ids(ids: Any) -> list[int]:
    return [] if ids is None else [int(n) for n in ids] if isinstance(ids, list) else [int(ids)]
