"""Labelled and unlabelled samples as artifacts: their files, and how good answers to them are."""
