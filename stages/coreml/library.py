"""coremltools' deployment targets, and the features of each; its quiet import."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.errors import Problem, listed
from pipeline.stage import OneOf
from stages.portable import native_output

# Generations of Apple's systems, named by their release of iOS, as are the opsets of ML Programs.
GENERATIONS = {
    "iOS15": ("iOS15", "macOS12", "watchOS8", "tvOS15"),
    "iOS16": ("iOS16", "macOS13", "watchOS9", "tvOS16"),
    "iOS17": ("iOS17", "macOS14", "watchOS10", "tvOS17"),
    "iOS18": ("iOS18", "macOS15", "watchOS11", "tvOS18"),
    "iOS26": ("iOS26", "macOS26", "watchOS26", "tvOS26"),
}
TARGETS = tuple(name for names in GENERATIONS.values() for name in names)
UNITS = ("ALL", "CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE")
# The types of a program's inputs and outputs, and the types that replace all others there. Source: FeatureTypes.proto,
# and coremltools' pass adjust_io_to_supported_types.
TYPES = ("float32", "float16", "int32")
STAND_INS = {"float64": "float32", "bool": "float32", **dict.fromkeys(("int64", "int16", "int8", "uint8"), "int32")}
REQUIRES = ("numpy", "coremltools")


def load() -> Any:
    """The module coremltools, imported without its warnings about features that only macOS has."""
    with native_output.to_log():
        import coremltools
    return coremltools


class Target(OneOf):
    """The name of a deployment target.

    Args:
        first: The features that it must have: feature to the first generation with it.
    """

    def __init__(self, first: Mapping[str, str] | None = None) -> None:
        super().__init__(TARGETS)
        self._first = first or {}

    def problems(self, name: str, value: str) -> Iterable[Problem]:
        return super().problems(name, value) or lacking(value, self._first)


def has(target: str, generation: str) -> bool:
    """Whether a deployment target is of this generation or a later one."""
    order = list(GENERATIONS)
    return order.index(_generation(target)) >= order.index(generation)


def lacks(target: str, generation: str, what: str) -> Problem:
    """The problem of a feature that a deployment target does not have; it names the first target with it."""
    return Problem(
        f"deployment_target is {target}, which does not have {what}",
        allowed=f"{listed(GENERATIONS[generation])} and later",
        command=f"stages.compile.deployment_target={_sibling(target, generation)}",
    )


def lacking(target: str, first: Mapping[str, str]) -> list[Problem]:
    """The problems of all features that a target does not have. `first` maps a feature to its first generation."""
    return [lacks(target, generation, what) for what, generation in first.items() if not has(target, generation)]


def _generation(target: str) -> str:
    return next(g for g, names in GENERATIONS.items() if target in names)


def _sibling(target: str, generation: str) -> str:
    """The system of another generation for the same kind of device, such as iOS18 for iOS16."""
    return GENERATIONS[generation][GENERATIONS[_generation(target)].index(target)]
