"""Loads models into memory, from weights and files."""
