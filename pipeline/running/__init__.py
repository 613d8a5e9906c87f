"""Runs a plan: stages here or in a process of their own, and the hand-over."""
