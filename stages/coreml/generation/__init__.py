"""Language models as Core ML runs them: a cache of a set length, which lies in the program's states."""
