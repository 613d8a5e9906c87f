"""Which code makes a result: the stages by name, what each file imports, and what identifies a stage's code.

    reading    one source file: what of it counts, and what it refers to
    index      all files of `stages`, read once and kept until one changes
    closure    the files behind one stage, for the kinds of artifact that it receives and makes
    names      from a stage's name to its class, and back

Nothing here imports a stage but `names.find`. It needs the standard library alone, since the build of a wheel runs it.
"""
