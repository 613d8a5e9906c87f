"""What others may ask of what a decoder answers, and of the files that lie beside its weights."""

from __future__ import annotations

from pipeline.formats import Format, Kind

TOKENS = Kind("tokens")  # what the PyTorch model goes on with, token by token
MODEL_FOLDER = Kind("model_folder")  # configuration, tokenizer and chat template, without weights

FORMATS = {
    "tokens": Format(file="tokens.json"),
    "model_folder": Format(file="config.json"),
}
