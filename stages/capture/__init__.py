"""From a module to a program that no longer needs its Python code, and what may stand in the way."""
