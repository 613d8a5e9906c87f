"""How an artifact of each kind is executed on arrays: one module per kind, each with REQUIRES and `open_session`."""
