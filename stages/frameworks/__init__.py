"""Model files of other frameworks, which a compiler reads by itself."""
