"""Weights and activations in fewer bits, by NNCF, for ONNX and OpenVINO."""
