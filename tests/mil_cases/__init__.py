"""Cases for every MIL operation that the evaluator has, each with torch's own answer: seeded, with edge cases."""
