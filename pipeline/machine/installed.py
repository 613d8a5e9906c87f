"""The metadata of our own distribution: its version, and which versions of which libraries it requires."""

from __future__ import annotations

import contextlib
import re
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

DISTRIBUTION = "torch-drydock"
FORMERLY = "drydock"  # to the environments of earlier runs; on the package index it is somebody else's
# Extras that bring no library for a stage: what is for developing, and Hydra's launchers, which Hydra looks for itself.
APART = ("all", "dev", "pool", "slurm", "ray")
# Extras whose libraries are examined only where a configuration needs them.
UNLISTED = ("remote",)
# Libraries that are not imported by the name that they are installed by.
IMPORTED_AS = {"hydra-core": "hydra", "mlflow-skinny": "mlflow", "pillow": "PIL"}


@dataclass(frozen=True)
class Requirement:
    """A library that our distribution names, such as `numpy>=2.0`.

    Args:
        distribution: Its name to pip.
        module: Its name to Python.
        versions: The allowed versions, such as ">=2.0,<2.4"; empty when any version works.
        extra: Our extra that installs it; None when it is always installed.
    """

    distribution: str
    module: str
    versions: str
    extra: str | None

    def admits(self, version: str) -> bool:
        """Whether a version is allowed; a text that is no version cannot be judged, and counts as allowed."""
        from packaging.specifiers import SpecifierSet
        from packaging.version import InvalidVersion, Version

        try:
            return SpecifierSet(self.versions).contains(Version(version), prereleases=True)
        except InvalidVersion:
            return True

    def __str__(self) -> str:
        return f"{self.distribution}{self.versions}"


def own_version() -> str:
    """The installed version of Drydock; "not installed" when it runs from a bare checkout."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "not installed"


def required_python() -> Requirement:
    """The versions of Python that our distribution runs on; any, for a bare checkout."""
    try:
        versions = metadata.metadata(DISTRIBUTION)["Requires-Python"] or ""
    except metadata.PackageNotFoundError:
        versions = ""
    return Requirement("python", "python", versions, None)


def requirements() -> list[Requirement]:
    """The libraries that an installation may have, but those of extras apart or unlisted; none for a bare checkout."""
    return [r for r in _all_requirements() if r.extra not in UNLISTED]


def _all_requirements() -> list[Requirement]:
    # Here, since a run that lacks nothing never asks.
    from packaging.requirements import Requirement as Line

    libraries = []
    for line in map(Line, _lines()):
        extra = re.search(r"extra == \"([\w-]+)\"", str(line.marker or ""))
        if line.name != DISTRIBUTION and (extra is None or extra[1] not in APART):
            module = IMPORTED_AS.get(line.name, line.name.replace("-", "_"))
            libraries.append(Requirement(line.name, module, str(line.specifier), extra and extra[1]))
    return libraries


def how_to_install(module: str) -> str:
    """The command that installs a library: with our extra that requires it, if there is one."""
    library = next((r for r in _all_requirements() if r.module == module), None)
    if library and library.extra:
        return f"pip install '{DISTRIBUTION}[{library.extra}]'"
    return f"pip install {library.distribution if library else module}"


def distribution(module: str) -> str:
    """The name of the distribution that a module comes from; the module's own where none says."""
    return next(iter(metadata.packages_distributions().get(module, ())), module)


def distributions() -> dict[str, str]:
    """Every installed distribution and its version, by normalised name; read from the names of their folders.

    To ask each for its metadata takes forty times as long, and this is done on every run.
    """
    versions: dict[str, str] = {}
    for folder in map(Path, reversed([p for p in sys.path if p])):  # what comes first is what an import finds
        with contextlib.suppress(OSError):
            for entry in folder.iterdir():
                if entry.suffix == ".dist-info" and (match := re.fullmatch(r"(.+?)-([^-]+)\.dist-info", entry.name)):
                    versions[re.sub(r"[-_.]+", "-", match[1]).lower()] = match[2]
    return dict(sorted(versions.items()))


def _lines() -> list[str]:
    try:
        return metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []
