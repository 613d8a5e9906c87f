"""Parts that every format shares: how an artifact is run, and what its graph stores."""
