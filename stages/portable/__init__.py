"""Code that also runs on other machines, inside bundles: it needs only Python's standard library and numpy."""
