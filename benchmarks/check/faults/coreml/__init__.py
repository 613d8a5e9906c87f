"""Faults of Core ML programs."""
