"""The questions for the PyTorch model, its answers, and how far an artifact's answers are from these."""
