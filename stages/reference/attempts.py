"""Several ways to one artifact: the first that gets there and agrees with the model, and why the others did not."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.artifact import Artifact
from pipeline.errors import CheckFailed, DrydockError, StageError
from stages.formats import session
from stages.portable.comparison import Tolerance
from stages.portable.said import first_line
from stages.reference import parity

log = logging.getLogger(__name__)

Way = Callable[[Path], Artifact]


@dataclass(frozen=True)
class Held:
    """What a result must agree with.

    Args:
        reference: What the model answered.
        tolerance: How far the result's outputs may be from that.
        compute: What it computes in meanwhile.
        extensions: Operations that its runtime does not have by itself.
    """

    reference: Artifact
    tolerance: Tolerance
    compute: str = "float32"
    extensions: Sequence[str] = ()

    def to(self, made: Artifact) -> None:
        """Raises CheckFailed for a result that cannot be loaded, cannot be run, or does not agree."""
        try:
            running = session.open_session(made, self.compute, extensions=self.extensions)
        except DrydockError:
            raise
        except Exception as e:  # a runtime raises anything
            raise CheckFailed(f"its result cannot be loaded: {first_line(e)}") from e
        found = parity.measure(made, running, self.reference, self.tolerance)
        if found.wrong:
            raise CheckFailed(f"its result does not agree with the model: {found.wrong[0]}")


def first(ways: Mapping[str, Way], held: Held, folder: Path) -> Artifact:
    """The result of the first way that serves, with its files in `folder`; its notes say why earlier ones did not.

    Args:
        ways: By name, such as "capture=export": what makes the artifact somewhere in a folder that it is given.
        held: What a result is held to before it is taken.
        folder: For the result.

    Raises:
        StageError: With what was wrong with each, when none serves.
    """
    refused: dict[str, DrydockError] = {}
    for name, way in ways.items():
        attempt = folder / "attempt"
        attempt.mkdir()
        try:
            made = way(attempt)
            held.to(made)
        except Exception as e:  # vendors raise anything, and the next way may do without that vendor
            told = e if isinstance(e, DrydockError) else StageError(f"{type(e).__name__}: {first_line(e)}")
            if isinstance(e, CheckFailed):
                by_itself = f"{name} by itself, whose check names the operator that diverges first"
                told = CheckFailed([replace(p, command=p.command or by_itself) for p in e.problems])
            refused[name] = told
            shutil.rmtree(attempt)
            log.info("%s does not serve: %s", name, told.problems[0].what, exc_info=e)
            continue
        assert made.folder is not None
        for path in made.folder.iterdir():
            path.rename(folder / path.name)
        shutil.rmtree(attempt)
        why = "".join(f"; not {n}: {e.problems[0].what.partition(chr(10))[0]}" for n, e in refused.items())
        return replace(made, folder=folder, notes={**made.notes, "says": f"by {name}: {made.notes['says']}{why}"})
    raise StageError([p.at(f"{name}: ") for name, e in refused.items() for p in e.problems]) from (
        next(reversed(refused.values()))
    )
