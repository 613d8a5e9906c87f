"""How fast and how much memory, always as a ratio against something measured in the same run. Never part of tests."""
