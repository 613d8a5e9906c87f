"""Language models for Core ML: a cache of fixed length, which lies in the program's states."""
