"""Core ML: packages converted, compressed, read and run."""
