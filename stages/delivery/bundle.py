"""What makes a delivered model one that can be checked where it goes: reference answers, and a script that compares."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.artifact import Artifact, Kind
from pipeline.errors import StageError
from stages.portable import selfcheck
from stages.reference import as_met
from stages.reference import cases as reference_cases
from stages.reference.cases import Case

KINDS = frozenset(Kind(kind) for kind in selfcheck.RUNTIMES)
SCRIPT, REFERENCE, README, LABELS = "selfcheck.py", "reference.npz", "README.md", "labels.txt"
STAGES = Path(__file__).parents[1]
OURS = re.compile(r"^from stages\.([\w.]+) import (?:\([^)]*\)|.+)\n", re.MULTILINE)


def script(module: str = "portable.selfcheck") -> str:
    """A module as one file: what it imports of ours is placed in it, once, so that each comparison exists once.

    Args:
        module: Its dotted name below `stages`, such as "portable.selfcheck".
    """
    return _whole(_source(module), set())


def _whole(text: str, placed: set[str]) -> str:
    return OURS.sub(lambda found: _body(found[1], placed), text)


def _body(module: str, placed: set[str]) -> str:
    if module in placed:
        return ""
    placed.add(module)
    _, _, body = _source(module).partition("from __future__ import annotations\n")
    return f"\n# stages/{module.replace('.', '/')}.py\n{_whole(body, placed).rstrip()}\n\n"


def _source(module: str) -> str:
    return STAGES.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8")


def cases(artifact: Artifact, reference: Artifact) -> list[Case]:
    """The reference's draws at each size, as an artifact meets them. Raises StageError when it takes none.

    Other values stay here: they are for what a conversion breaks, and the files are the same there.
    """
    met = [c for c in (as_met.case_for(artifact, a) for a in reference_cases.at_sizes(reference)) if c is not None]
    if not met:
        raise StageError(f"the reference has no case that this {artifact.kind} takes, so a bundle would prove nothing")
    return met


def write_cases(met: list[Case], path: Path) -> None:
    """As numpy reads them: LABEL/in/NAME and LABEL/out/NAME. Equal cases give equal bytes: numpy writes no dates."""
    import numpy as np

    arrays = {f"{c.label}/in/{n}": v for c in met for n, v in c.inputs.items()}
    arrays |= {f"{c.label}/out/{n}": v for c in met for n, v in c.outputs.items()}
    np.savez(path, **arrays)  # type: ignore[arg-type]  # its stub takes any keyword for allow_pickle
