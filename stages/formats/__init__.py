"""What holds for every format: how an artifact is run and what its graph stores, whichever format it is."""
