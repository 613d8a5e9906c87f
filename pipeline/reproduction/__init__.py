"""Rebuilds what a record or a lock describes, and decides whose code may run for it."""
