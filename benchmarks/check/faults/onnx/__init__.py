"""Faults of ONNX graphs."""
