"""Decoders of transformers as modules whose cache passes in and out."""
