"""Runs a plan: stages in this or a separate process, and the delivery."""
