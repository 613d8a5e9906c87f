"""What a file of somebody else's is taken in by: names, sizes and ranges of what its author left open."""
