"""The files that a run leaves: run.json and jobs.json."""
