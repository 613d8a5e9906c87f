"""Real inputs: their sources and identities, read one row at a time."""
