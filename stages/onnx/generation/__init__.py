"""A decoder's graph for onnxruntime-genai: its configuration, its folder, and what runs it here and on a device."""
