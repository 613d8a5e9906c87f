"""TensorRT: assesses graphs, builds and runs engines."""
