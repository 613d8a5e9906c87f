"""Housekeeping of stores and runs: lists, measures, verifies, removes and moves them.

`python -m pipeline.store` and `python -m pipeline.runs` are built from this room.
"""
