"""What language models answer token by token, and what a runtime needs to know of them beside the graph."""
