"""OpenVINO: IRs and blobs compiled, read and run."""
