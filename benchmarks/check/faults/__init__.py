"""Faults as converters make them, each in one place of one artifact."""
