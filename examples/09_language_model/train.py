"""Trains a small decoder on the text that ships with Python, in minutes on one core, and writes the folder `model`."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import torch
from text import parts
from tokenizers import ByteLevelBPETokenizer
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

FOLDER, WORDS, LENGTH, ROWS, STEPS = Path("model"), 512, 96, 16, 1500
BEGIN = "<|text|>"

torch.manual_seed(0)
torch.set_num_threads(1)
train, held_out = parts()
shutil.rmtree(FOLDER, ignore_errors=True)
words = ByteLevelBPETokenizer()
words.train_from_iterator([train], vocab_size=WORDS, special_tokens=[BEGIN], show_progress=False)
whole = PreTrainedTokenizerFast(tokenizer_object=words._tokenizer, bos_token=BEGIN, eos_token=BEGIN, pad_token=BEGIN)
whole.save_pretrained(FOLDER)
tokenizer = AutoTokenizer.from_pretrained(FOLDER)
tokens, unseen = (torch.tensor(tokenizer(t, verbose=False)["input_ids"]) for t in (train, held_out))
config = LlamaConfig(
    vocab_size=WORDS,
    hidden_size=64,
    intermediate_size=192,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
    tie_word_embeddings=True,
    bos_token_id=0,
    eos_token_id=0,
    pad_token_id=0,
)
model = LlamaForCausalLM(config)
optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.1, betas=(0.9, 0.95))
for step in range(STEPS):
    for group in optimizer.param_groups:
        group["lr"] = 4e-3 * min(step / 100, 0.5 + 0.5 * math.cos(math.pi * step / STEPS))
    rows = torch.stack([tokens[s : s + LENGTH] for s in torch.randint(len(tokens) - LENGTH, (ROWS,))])
    loss = model(input_ids=rows, labels=rows).loss
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    if step % 100 == 0:
        print(f"{step} of {STEPS}: loss {loss.item():.3f}", flush=True)
model.save_pretrained(FOLDER)
rows = unseen[: len(unseen) // LENGTH * LENGTH].view(-1, LENGTH)
with torch.no_grad():
    loss = sum(model(input_ids=row[None], labels=row[None]).loss for row in rows) / len(rows)
print(f"perplexity of {rows.numel():,} tokens that are held out: {loss.exp():.2f}")
