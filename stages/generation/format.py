"""The formats of a decoder's answers, and of the files beside its weights."""

from __future__ import annotations

from pipeline.formats import Format, Kind

TOKENS = Kind("tokens")  # the PyTorch model's continuations, token by token
TEXTS = Kind("texts")  # texts as tokens, with their probabilities in the PyTorch model
MODEL_FOLDER = Kind("model_folder")  # configuration, tokenizer and chat template, without weights

FORMATS = {
    "tokens": Format(file="tokens.json"),
    "texts": Format(file="texts.safetensors"),
    "model_folder": Format(file="config.json"),
}
