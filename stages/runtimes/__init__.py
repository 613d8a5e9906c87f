"""How an artifact of each kind is executed on arrays: one module per kind, each with REQUIRES and `open_session`.

A file of another framework is executed by that framework, where it is installed: see file.py.
"""
