"""Language models: their answers token by token, and the files that a runtime needs besides the graph."""
