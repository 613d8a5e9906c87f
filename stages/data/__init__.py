"""Real inputs: where they come from, what identifies them, one row at a time."""
