"""Core ML: converts, compresses, reads and runs packages."""
