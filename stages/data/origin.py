"""Where samples come from, as a setting of stages that take some: to ask, to calibrate, to evaluate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.errors import Problem, listed
from pipeline.stage import OneOf, Setting, SomeOf, World
from stages.data import spec
from stages.data.spec import RANDOM

KINDS = ("images", "arrays", "text", "dataset", RANDOM)
KEYS = ("source", "path", "tokenizer", "kwargs")
# What a kind cannot do without, and what each is. Keys that a kind has no use for may stay from another's.
NEEDED = {kind: {"path": "the path of what is there"} for kind in ("images", "arrays", "text")}
NEEDED["text"]["tokenizer"] = "a folder as save_pretrained writes it"
NEEDED["dataset"] = {"path": "a dotted path such as my_pkg.data.Train"}
MODULES = {"images": ["PIL"], "text": ["transformers"], "dataset": ["torch"]}


class Origin(Setting):
    """A source of samples; see stages/data/spec.py. What it has is part of the key.

    Args:
        typed: What sets it, to be typed.
        labelled: Whether labels are wanted, which nobody knows of random draws.
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
            return [Problem(f"{name}.source is random, and nobody knows the labels of random draws", allowed, command)]
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
        named = spec.spelled(value)
        return MODULES.get(str(named.get("source")), ()) if isinstance(named, Mapping) else ()

    def files(self, value: Any) -> Iterable[str]:
        value = spec.spelled(value)
        if value["source"] == "dataset":
            from stages.data import sources

            return sources.paths(value.get("kwargs") or {})
        return [str(value[key]) for key in ("path", "tokenizer") if value.get(key)]

    def identity(self, name: str, value: Any, world: World) -> Any:
        from stages.data import sources  # where a source is set: importing it takes time

        return sources.of(value, None).identity(world)


class RequiredOrigin(Origin):
    """One that cannot be left out."""

    required = True
