"""Labelled and unlabelled data: where it comes from, its files, and how good answers to it are."""
