"""A decoder's stateful package in the folder that is delivered."""

from __future__ import annotations

from pipeline.artifact import Artifact
from stages.coreml import runtime
from stages.coreml.generation import stateful
from stages.coreml.generation.host import IDS, Loop
from stages.coreml.mil.program import Feature
from stages.formats import session
from stages.formats.session import How
from stages.interface.generation import FACT

REQUIRES = runtime.REQUIRES


def open_generator(artifact: Artifact, how: How, *, ours: bool) -> Loop:
    """Loads a folder. Core ML has no runtime for language models, so it always runs in our own loop.

    Raises StageError for a setting and a damaged package, CheckFailed where the evaluator lacks an operation.
    """
    from stages.coreml.mil import read

    session.without_settings(how, "Core ML")
    program = read.read(artifact.file)
    running = stateful.open_program(program)
    takes = program.functions[program.default].takes[IDS]
    loop = Loop(running, artifact.facts[FACT], _sizes(takes), f"the program by {running.properties['executed_by']}")
    loop.computes_in = running.computes_in
    return loop


def _sizes(feature: Feature) -> list[int]:
    """How many tokens a call may have."""
    if feature.shapes:
        return [shape[1] for shape in feature.shapes]
    low, high = feature.ranges[1]
    return list(range(low, (high or low) + 1))
