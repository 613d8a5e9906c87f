"""ONNX: graphs exported, simplified, cast, read and run."""
