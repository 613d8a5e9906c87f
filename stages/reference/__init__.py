"""What the PyTorch model is asked, what it answers, and how far an artifact's answers are from that."""
