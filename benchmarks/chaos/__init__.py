"""Fault injection: kills, errors, rot, races and several users, against the runner and the store."""
