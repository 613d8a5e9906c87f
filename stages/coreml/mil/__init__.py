"""A reference evaluator for Core ML's ML Programs: it executes a saved .mlpackage on arrays, on any system.

It reads the saved spec and weight file, and shares only the protobuf schema with the converter.
Each MIL operation is one small function, written from the operation's documentation:
https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html

    program = read.read("net.mlpackage")
    evaluate.missing(program)           # the operations that it lacks, before it runs anything
    evaluate.evaluate(program, {"x": x})  # outputs by name

Values have the types that the program declares. A float16 value is stored as float16; an operation computes in float32,
and its result is rounded to float16 once, at the end. Core ML's devices differ there: the Neural Engine and GPU may
accumulate in float16, or keep float32 over several operations. The evaluator computes what the graph says.
"""
