"""Hands an artifact over: its name, its folder, and what comes with it."""
