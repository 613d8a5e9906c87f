"""Delivers an artifact: its name, its folder, and the files that come with it."""
