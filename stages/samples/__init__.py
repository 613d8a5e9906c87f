"""Labelled and unlabelled samples as artifacts: their files, and metrics of answers to them."""
