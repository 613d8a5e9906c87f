"""The source of samples as a setting of stages that check, calibrate or evaluate with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.errors import Problem, listed
from pipeline.stage import OneOf, Setting, SomeOf, World
from stages.data import spec
from stages.data.spec import RANDOM

KINDS = ("images", "arrays", "text", "dataset", RANDOM)
KEYS = ("source", "path", "tokenizer", "kwargs")
# The keys that a kind needs, each with its meaning. Keys that a kind does not use may stay.
NEEDED = {kind: {"path": "the path of what is there"} for kind in ("images", "arrays", "text")}
NEEDED["text"]["tokenizer"] = "a folder as save_pretrained writes it"
NEEDED["dataset"] = {"path": "a dotted path such as my_pkg.data.Train"}
MODULES = {"images": ["PIL"], "text": ["transformers"], "dataset": ["torch"]}


class Origin(Setting):
    """A source of samples; see stages/data/spec.py. Its content is part of the key.

    Args:
        typed: The setting, as it is typed.
        labelled: Whether labels are needed, which random draws do not have.
    """

    def __init__(self, typed: str, *, labelled: bool = False) -> None:
        self._typed, self._labelled = typed, labelled

    def problems(self, name: str, value: Any) -> Iterable[Problem]:
        value = spec.spelled(value)
        kinds = [kind for kind in KINDS if not (self._labelled and kind == RANDOM)]
        allowed, command = listed(kinds), f"{self._typed}.source=images {self._typed}.path=FOLDER"
        if not isinstance(value, Mapping):
            return [Problem(f"{name} is {value}", "a mapping: {source: images, path: FOLDER}", command)]
        if unknown := SomeOf(KEYS).problems(name, list(map(str, value))):
            return unknown
        kind = value.get("source")
        if kind is None:
            return [Problem(f"{name}.source is not set: nothing says where samples come from", allowed, command)]
        if kind == RANDOM and self._labelled:
            return [Problem(f"{name}.source is random, and random draws have no labels", allowed, command)]
        unknown = OneOf(kinds, command=command).problems(f"{name}.source", kind)
        return unknown or self._value_problems(name, kind, value)

    def _value_problems(self, name: str, kind: str, value: Mapping[str, Any]) -> Iterable[Problem]:
        for key, what in NEEDED.get(kind, {}).items():
            if not (isinstance(value.get(key), str) and value[key]):
                yield Problem(f"{name}.{key} is {value.get(key)}, and {kind} need one", what, f"{self._typed}.{key}=…")
            elif kind == "arrays" and not value[key].endswith(".npz"):
                yield Problem(f"{name}.{key} is {value[key]}", "a .npz file", f"{self._typed}.{key}=FILE.npz")
        if kind == "dataset" and not isinstance(value.get("kwargs"), Mapping | None):
            yield Problem(f"{name}.kwargs is {value['kwargs']}", allowed="a mapping: {split: train}")

    def modules(self, value: Any) -> Iterable[str]:
        mapping = spec.spelled(value)
        return MODULES.get(str(mapping.get("source")), ()) if isinstance(mapping, Mapping) else ()

    def files(self, value: Any) -> Iterable[str]:
        value = spec.spelled(value)
        if value["source"] == "dataset":
            from stages.data import sources

            return sources.paths(value.get("kwargs") or {})
        return [str(value[key]) for key in ("path", "tokenizer") if value.get(key)]

    def identity(self, name: str, value: Any, world: World) -> Any:
        from stages.data import sources  # where a source is set: importing it takes time

        return sources.build(value, None).identity(world)


class RequiredOrigin(Origin):
    """A source that must be set."""

    required = True
