"""The output on the screen."""
