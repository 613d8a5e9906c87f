"""What also runs on other machines, inside bundles: it needs Python's standard library and numpy alone."""
