"""What this machine is and has: processor, GPU, libraries, the state of git."""
