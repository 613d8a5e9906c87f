"""Several jobs from one command: their order, their processes and the live view."""
