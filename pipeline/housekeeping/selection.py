"""Selects results of a store: by stage, model, age, size, digest, or by whether runs use them."""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ConfigError, listed, nearest
from pipeline.housekeeping.contents import Contents, Listed, Result
from pipeline.runs import folders

SHORTEST = 6  # characters of a digest
ORDERS = {
    "used": lambda r: (r.used, -r.size),
    "size": lambda r: (r.size, r.used),
    "stage": lambda r: (r.stages, r.used),
    "model": lambda r: (r.names, r.source, r.used),
}


@dataclass(frozen=True)
class Selection:
    """The conditions of a selection. A condition that is empty or None selects all.

    Args:
        stage: The name of the stage that built the result. Where no stage has it, what names begin with up to an
            underscore: export is export_by_opset.
        model: The name of a model that the result was used for, with * for any letters.
        older: The least number of seconds since the last use.
        larger: The least number of bytes.
        digests: The digests to choose from.
        unused_by: Folders with runs, none of which uses the result.
    """

    stage: str | None = None
    model: str | None = None
    older: float | None = None
    larger: int | None = None
    digests: Sequence[str] = ()
    unused_by: Sequence[Path] = ()

    @property
    def means_all(self) -> bool:
        """Whether it has no condition, so that it selects all."""
        return not any((self.stage, self.model, self.larger, self.digests, self.unused_by)) and self.older is None

    def results(self, known: Contents) -> list[Result]:
        """The selected results. Raises ConfigError for a stage or a digest of which there is no result."""
        if self.means_all:
            return list(known.results)
        wanted = {digest_of(text, known) for text in self.digests}
        stages = {s for r in known.results for s in r.stages}
        meant = self._stages(stages)
        if self.stage and not meant:
            near = nearest(self.stage, stages)
            raise ConfigError(
                f"--stage {self.stage}: there is no result of this stage{near}", allowed=listed(sorted(stages))
            )
        used = used_by(self.unused_by)
        return [r for r in known.results if self._means(r, wanted, used, meant)]

    def _stages(self, names: set[str]) -> set[str]:
        """The stages that are meant, of those that there are: all where none is named."""
        return {n for n in names if self.stage in (None, n)} or {n for n in names if n.startswith(f"{self.stage}_")}

    def _means(self, result: Result, wanted: Collection[str], used: Collection[str], stages: set[str]) -> bool:
        return (
            (not wanted or result.digest in wanted)
            and (self.stage is None or not stages.isdisjoint(result.stages))
            and (self.model is None or _is_of(result, self.model))
            and (self.older is None or time.time() - result.used >= self.older)
            and (self.larger is None or result.size >= self.larger)
            and result.digest not in used
        )

    def entries(self, known: Contents, chosen: Iterable[Result]) -> list[Listed]:
        """The entries of the selected results. A selection by age alone also selects old entries without a result."""
        digests = {result.digest for result in chosen}
        found = [entry for entry in known.entries if entry.digest in digests]
        if self.older is not None and not (self.model or self.larger or self.digests):
            stored = {result.digest for result in known.results}
            used = used_by(self.unused_by)
            stages = self._stages({entry.stage for entry in known.entries})
            found += [
                entry
                for entry in known.entries
                if entry.digest not in stored and entry.digest not in used
                if entry.stage in stages
                if time.time() - known.last_use(entry) >= self.older
            ]
        return found


def _is_of(result: Result, pattern: str) -> bool:
    names = [model for model, _ in result.names] or [result.source.rpartition(".")[2]]
    return any(fnmatch.fnmatchcase(name, pattern) for name in names)


def digest_of(text: str, known: Contents) -> str:
    """The digest of a result that begins with a text. Raises ConfigError where there is none, or several."""
    found = sorted({r.digest for r in known.results if r.digest.startswith(text)}) if len(text) >= SHORTEST else []
    if len(found) != 1:
        what = f"is the beginning of {len(found)} digests" if found else "is the digest of no result there"
        raise ConfigError(
            f"{text} {what}",
            allowed=listed(d[:16] for d in found) or f"the first {SHORTEST} digits or more of one",
            command="python -m pipeline.store list",
        )
    return found[0]


def used_by(places: Iterable[Path]) -> set[str]:
    """The results that the runs in some folders use. Raises ConfigError for a folder without runs."""
    return {digest for place in places for run in _runs(place) for digest in run}


def _runs(place: Path) -> Iterator[set[str]]:
    try:
        found = folders.runs(place)
    except OSError as e:
        raise ConfigError(
            f"{place} cannot be read: {e.strerror}",
            allowed="a folder with runs in it, such as runs",
            command="python -m pipeline.runs list shows those of this folder",
        ) from e
    if not found:
        raise ConfigError(
            f"{place} holds no run, so that every result would count as unused",
            allowed="a folder with runs in it, such as runs",
            command="python -m pipeline.runs list shows those of this folder",
        )
    for folder in found:
        run = folders.read_run(folder)
        if run is None:
            raise ConfigError(
                f"{folder / folders.RUN} cannot be read, so that it is not known what that run uses",
                command="another folder, or remove that one",
            )
        yield folders.digests(run)
