"""Rewrites of a program, before coremltools converts it and as passes during the conversion."""
