"""Builds, runs and checks an engine on the host it is for; bundles carry these files."""
