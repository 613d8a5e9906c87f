"""Checks and measures a finished artifact: its answers, accuracy, types and speed."""
