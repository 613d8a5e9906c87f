"""Folders of small decoders as save_pretrained writes them: seeded, spread-out weights, a tokenizer trained here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

VOCABULARY, WORDS = 320, 300  # tokens of models and of tokenizers; the class of some tokenizers adds tokens
LLAMA = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
MANY = {**LLAMA, "num_key_value_heads": 4}
EXPERTS = {**LLAMA, "num_experts_per_tok": 2, "moe_intermediate_size": 48}
GPT2 = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128}
# By model_type: the fields of a small one.
CONFIGS: dict[str, dict[str, Any]] = {
    "gpt2": GPT2,
    "llama": LLAMA,
    "qwen2": LLAMA,
    "qwen3": {**LLAMA, "head_dim": 16},
    "phi": MANY,
    "phi3": MANY,
    "opt": {**MANY, "ffn_dim": 96, "word_embed_proj_dim": 64},
    "mixtral": {**LLAMA, "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {**EXPERTS, "num_experts": 4, "head_dim": 16},
    "lfm2": {**LLAMA, "layer_types": ["conv", "full_attention"], "conv_L_cache": 3, "block_multiple_of": 16},
    "bloom": {"hidden_size": 64, "n_layer": 2, "n_head": 4},
    "falcon": {**MANY, "num_kv_heads": 4, "new_decoder_architecture": False, "multi_query": True},
    "gpt_neox": MANY,
    "mistral": {**LLAMA, "sliding_window": 16},
    "gemma2": {**LLAMA, "head_dim": 16, "sliding_window": 16, "query_pre_attn_scalar": 16},
    "gemma3_text": {**LLAMA, "head_dim": 16, "sliding_window": 16, "query_pre_attn_scalar": 16},
    "mamba": {"hidden_size": 64, "num_hidden_layers": 2, "state_size": 8},
}
TEXT = (
    'The quick brown fox jumps over the lazy dog. In 2026 it\'s 3.14 %, "twice"!\n'
    "\tdef f(x): return x\nGröße naïve 日本 🙂\n"
)
TEMPLATE = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}"


def tokenizer(folder: Path) -> None:
    """A byte-level BPE of WORDS tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<pad>", "<s>", "</s>"]
    bpe.train_from_iterator(
        [TEXT] * 4,
        trainers.BpeTrainer(vocab_size=WORDS, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    whole = PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    whole.chat_template = TEMPLATE
    whole.save_pretrained(folder)
    # As the class for this type of model writes it, which may split texts in its own way.
    AutoTokenizer.from_pretrained(folder).save_pretrained(folder)


def folder(kind: str, into: Path, *, seed: int = 0, **more: Any) -> Path:
    """A model's folder, complete.

    Args:
        kind: One of CONFIGS.
        into: The folder to write.
        seed: The seed of the weights.
        more: Fields that override those of CONFIGS.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = AutoConfig.for_model(kind, vocab_size=VOCABULARY, **ids, **{**CONFIGS[kind], **more})
    config.initializer_range = 0.3
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
        for weight in model.parameters():
            if weight.ndim > 1:  # spread out, so that tokens vary
                torch.nn.init.normal_(weight, std=0.3)
    model.eval().save_pretrained(into)
    tokenizer(into)
    assert json.loads((into / "config.json").read_text())["model_type"] == kind
    return into
