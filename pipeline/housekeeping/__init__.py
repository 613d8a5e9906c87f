"""What keeps stores and runs within bounds: what is there, how large it is, what goes, and where it goes.

`python -m pipeline.store` and `python -m pipeline.runs` are made of this.
"""
