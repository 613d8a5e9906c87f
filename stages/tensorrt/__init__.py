"""TensorRT: graphs assessed, engines built and run."""
