"""How it is told whether a planted fault is one, and whether the check finds it."""
