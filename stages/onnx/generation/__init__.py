"""What onnxruntime-genai must be told of a decoder's graph, and what runs its folder here and where it is delivered."""
