"""Builds, runs and checks an engine on the host that it is for; bundles contain these files."""
