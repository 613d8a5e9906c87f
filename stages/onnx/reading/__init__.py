"""What an ONNX file does, to be looked at."""
