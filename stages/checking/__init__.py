"""Asks a finished artifact whether it is what was wanted: its answers, accuracy, types and speed."""
