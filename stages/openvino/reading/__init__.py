"""What an IR does, to be looked at."""
