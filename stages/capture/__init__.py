"""Captures a module as a program that no longer needs its Python code, and explains what prevents it."""
