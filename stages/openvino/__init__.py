"""OpenVINO: compiles, reads and runs IRs and blobs."""
