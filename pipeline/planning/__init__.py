"""From stages to a checked graph, and from a graph to what must be built."""
