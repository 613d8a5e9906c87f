"""A decoder's graph in the folder that onnxruntime-genai loads."""

from __future__ import annotations

from pipeline.artifact import Artifact
from pipeline.errors import CheckFailed
from stages.formats import session
from stages.formats.session import How
from stages.interface.generation import FACT
from stages.onnx.generation.host import Genai, Loop, load
from stages.portable.vendor_errors import first_line

REQUIRES = ("onnxruntime_genai", "onnxruntime", "numpy")


def open_generator(artifact: Artifact, how: How, *, ours: bool) -> Genai | Loop:
    """Loads a folder. Raises StageError for a setting, CheckFailed where the runtime does not load it."""
    session.without_settings(how, "onnxruntime-genai")
    assert artifact.folder is not None
    try:
        running = load(artifact.folder, artifact.facts[FACT], how.threads, ours=ours)
    except Exception as e:  # the runtime raises anything
        raise CheckFailed(
            f"onnxruntime-genai does not load the folder: {first_line(e)}",
            allowed="operators that its onnxruntime has, and what genai_config.json says of the graph",
            command="stages.check_generation.ours=true runs the graph by our own loop, and says so",
        ) from e
    running.computes_in = str(artifact.facts.get("storage", "float32"))
    return running
