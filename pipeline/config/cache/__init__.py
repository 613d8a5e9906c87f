"""A cache of compositions, so that a command that Hydra composed before runs without it."""
