"""From weights and files to a model in memory."""
