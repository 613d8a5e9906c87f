"""The core of Drydock: it plans, looks up, runs and publishes stages, and knows none of them by name."""
