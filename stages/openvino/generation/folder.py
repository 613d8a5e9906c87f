"""A decoder's IR in the folder that openvino_genai loads."""

from __future__ import annotations

from pipeline.artifact import Artifact
from pipeline.errors import CheckFailed
from stages.formats import session
from stages.formats.session import How
from stages.interface.generation import FACT
from stages.openvino import library as openvino_library
from stages.openvino import runtime
from stages.openvino.generation import stateful
from stages.openvino.generation.host import Genai, Loop, load
from stages.portable.handed_over import Stop
from stages.portable.vendor_errors import first_line

BY_ORDER = "as requested"
REQUIRES = ("openvino_genai", "openvino", "openvino_tokenizers", "numpy")


def open_generator(artifact: Artifact, how: How, *, ours: bool) -> Genai | Loop:
    """Loads a folder. Raises StageError for a setting, CheckFailed where the runtime does not load it."""
    session.without_extensions(how, "openvino_genai")
    openvino_library.load()
    assert artifact.folder is not None
    cache = stateful.cache_settings(artifact.facts[stateful.FACT]["cache"])
    settings = {**cache, **runtime.settings(how)}
    try:
        return load(artifact.folder, artifact.facts[FACT], settings, ours=BY_ORDER if ours else "")
    except Stop as e:
        raise CheckFailed(str(e), command="'stages.check_generation.properties={}', or another machine") from e
    except Exception as e:  # the runtime raises anything
        raise CheckFailed(
            f"openvino_genai does not load the folder: {first_line(e)}",
            allowed="a stateful decoder, as stages.stateful makes it",
            command="stages.check_generation.ours=true runs the graph by our own loop, and says so",
        ) from e
