"""The parts of a bundle that check a delivered model on its target machine: reference answers and a script."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from pipeline import formats
from pipeline.artifact import Artifact
from pipeline.errors import Problem, StageError
from stages.reference import artifact_cases
from stages.reference import cases as reference_cases
from stages.reference.cases import Case

KINDS = formats.kinds("host")
SCRIPT, REFERENCE, README, LABELS = "selfcheck.py", "reference.npz", "README.md", "labels.txt"
TOKENS = "tokens.json"
CALLING = "CALLING.md"  # the README of a folder that is bundled
STAGES = Path(__file__).parents[1]
OURS = re.compile(r"^from stages\.([\w.]+) import (?:\([^)]*\)|.+)\n", re.MULTILINE)


class Bundle(Protocol):
    """What a format says about its bundles: the class `Bundle` in its part `bundle`."""

    SCRIPT: (
        str  # the dotted name below `stages` of what checks the model where it goes; see stages/portable/selfcheck.py
    )
    NEEDS: str  # what that takes beside numpy, by its name to pip
    ADVICE: str  # what to know when the model is loaded; "" where there is nothing

    @staticmethod
    def loading(file: str, inputs: str, names: str, facts: Mapping[str, Any], claim: Mapping[str, Any]) -> str:
        """Python that loads a file and runs it once.

        Args:
            file: Its name.
            inputs: A dictionary of inputs, as Python code.
            names: A list of the outputs, as Python code.
            facts: The artifact's.
            claim: How it was checked: "compute" and the runtime's "properties".
        """

    @staticmethod
    def only_for(facts: Mapping[str, Any]) -> str:
        """The machines that it runs on, as text; "" if it runs on every machine."""

    @staticmethod
    def unfit(facts: Mapping[str, Any]) -> Problem | None:
        """Why the script could not check this artifact; None where it can."""


def format_part(artifact: Artifact) -> Bundle | None:
    """What an artifact's format says about its bundles; None where it says nothing."""
    return (
        cast("Bundle", formats.part(artifact.kind, "bundle").Bundle)
        if formats.format_of(artifact.kind).bundle
        else None
    )


def needs(artifact: Artifact) -> str:
    """The Python module that the script of a bundle needs besides numpy."""
    return str(formats.part(artifact.kind, "host").RUNTIME.module)


def script_for(artifact: Artifact) -> str:
    """The script that checks an artifact on its target machine, as one file."""
    return script(formats.part(artifact.kind, "host").__name__.removeprefix("stages."))


def script(module: str) -> str:
    """A module as one file: our modules that it imports are included once, so that each comparison has one source.

    Args:
        module: Its dotted name below `stages`, such as "onnx.host".
    """
    return _whole(_source(module), set())


def _whole(text: str, placed: set[str]) -> str:
    return OURS.sub(lambda match: _body(match[1], placed), text)


def _body(module: str, placed: set[str]) -> str:
    if module in placed:
        return ""
    placed.add(module)
    _, _, body = _source(module).partition("from __future__ import annotations\n")
    return f"\n# stages/{module.replace('.', '/')}.py\n{_whole(body, placed).rstrip()}\n\n"


def _source(module: str) -> str:
    return STAGES.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8")


def cases(artifact: Artifact, reference: Artifact) -> list[Case]:
    """The reference's draws at each size, in an artifact's own terms. Raises StageError when it takes none.

    Other values are not delivered: they find faults of a conversion, and the delivered files are the same. Padded texts
    are not delivered either, since a runtime may answer anything at padding.
    """
    adapted = (artifact_cases.case_for(artifact, case) for case in reference_cases.at_sizes(reference))
    fitting = [c for c in adapted if c is not None and all(counts.all() for counts in c.counts.values())]
    if not fitting:
        raise StageError(f"the reference has no case that this {artifact.kind} takes, so a bundle would prove nothing")
    return fitting


def write_cases(fitting: list[Case], path: Path) -> None:
    """Writes arrays LABEL/in/NAME and LABEL/out/NAME. Equal cases give equal bytes: numpy writes no dates."""
    import numpy as np

    arrays = {f"{c.label}/in/{n}": v for c in fitting for n, v in c.inputs.items()}
    arrays |= {f"{c.label}/out/{n}": v for c in fitting for n, v in c.outputs.items()}
    np.savez(path, **arrays)  # type: ignore[arg-type]  # its stub takes any keyword for allow_pickle
