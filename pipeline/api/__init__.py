"""Drydock from Python: `from pipeline import convert, sweep`; docs/python.md shows how."""
