"""The differences between two records, by stage: settings, file contents, code, library versions, or only bytes."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipeline.store import key as keys

SHOWN = 80  # characters of a value


class What(StrEnum):
    """Kinds of differences, in the order in which one explains the next."""

    GRAPH = "graph"  # a stage that only one of them has, or one fed otherwise
    SETTINGS = "settings"
    CONTENT = "content"  # of weights, samples and other files, and code outside of Drydock
    LIBRARY = "library"
    CODE = "code"  # of the stage, as far as the files behind it are ours
    CLAIMS = "claims"  # what a check vouched for
    BYTES = "bytes"  # of the result


@dataclass(frozen=True)
class Difference:
    """One difference between two records.

    Args:
        stage: The stage; empty for a difference of the whole run.
        what: Its kind.
        says: A text, such as "tolerance.max_rel: 0.0001 → 0.001".
    """

    stage: str
    what: What
    says: str

    @property
    def is_newer(self) -> bool:
        """Whether it is a setting or a claim that the first record did not have yet."""
        return self.what in (What.SETTINGS, What.CLAIMS) and ": absent → " in self.says

    def __str__(self) -> str:
        return f"{self.stage or 'the run'}: {self.what}: {self.says}"


def between(
    before: Mapping[str, Any], after: Mapping[str, Any], behind: Mapping[str, Collection[str]] | None = None
) -> list[Difference]:
    """All differences between two records, in the order of the stages, causes before their consequences.

    Args:
        before: One record.
        after: The other.
        behind: The source files behind each stage, by path; None where that is not known, and then a file that changed
            is one of the run. See `of_code`.
    """
    differences = [Difference("", What.SETTINGS, phrase) for phrase in _phrases(_head(before), _head(after))]
    if behind is None and before["sources"] and after["sources"]:
        differences += of_code("", before, after, before["sources"].keys() | after["sources"].keys())
    old, new = ({s["name"]: s for s in r["stages"]} for r in (before, after))
    for name in [*old, *(n for n in new if n not in old)]:
        if name not in old or name not in new:
            differences.append(Difference(name, What.GRAPH, "only after" if name not in old else "only before"))
            continue
        differences += _of_stage(old[name], new[name], before["libraries"], after["libraries"])
        differences += of_code(name, before, after, behind.get(name, ())) if behind is not None else []
        claims = [[c for c in r["checks"] if c.get("stage") == name] for r in (before, after)]
        if not any(d.stage == name and d.what is What.SETTINGS for d in differences):
            differences += [
                Difference(name, What.CLAIMS, p)
                for one, other in zip(*claims, strict=False)
                for p in _phrases(one, other)
            ]
    return differences


def says_no_less(before: Any, after: Any) -> bool:
    """Whether a part of a record contains everything that the same part of an older record says, with equal values.

    A newer setting of a stage is no difference, nor is an additional shape that was checked.
    """
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        parts = {n: says_no_less(v, after[n]) if n in after else False for n, v in before.items() if n != "shapes"}
        return all(parts.values()) and set(before.get("shapes", ())) <= set(after.get("shapes", ()))
    if isinstance(before, list) and isinstance(after, list):
        return len(before) == len(after) and all(map(says_no_less, before, after))
    return bool(before == after)


def of_code(
    stage: str, before: Mapping[str, Any], after: Mapping[str, Any], behind: Collection[str]
) -> list[Difference]:
    """The source files behind a stage whose code differs between two records, a difference for each.

    Records of schema 1 have no source files: the stage's own file is named where the stage's result differs.
    """
    had, have = before["sources"], after["sources"]
    if had:
        return [Difference(stage, What.CODE, path) for path in sorted(behind) if had.get(path) != have.get(path)]
    old, new = (next(s for s in r["stages"] if s["name"] == stage) for r in (before, after))
    if old.get("digest") in (None, new.get("digest")):
        return []
    own = [path for path in behind if path.endswith(f"/{new['stage']}.py")]
    return [Difference(stage, What.CODE, f"{path}, or a file that it uses: the record is older") for path in own]


def before_running(
    record: Mapping[str, Any], stages: Sequence[Mapping[str, Any]], libraries: Mapping[str, str]
) -> list[Difference]:
    """The differences between a record and stages that have not run, given as `lineage.stage_entry` returns them."""
    new = {s["name"]: s for s in stages}
    both = ((s, new[s["name"]]) for s in record["stages"] if s["name"] in new)
    unknown = (What.BYTES, What.GRAPH)
    return [
        d for old, now in both for d in _of_stage(old, now, record["libraries"], libraries) if d.what not in unknown
    ]


def _head(record: Mapping[str, Any]) -> dict[str, Any]:
    names = ("schema", "drydock", "model", "target", "precision", "seed", "kind")
    return {n: record[n] for n in names if n in record}


def _of_stage(
    old: Mapping[str, Any], new: Mapping[str, Any], had: Mapping[str, str], have: Mapping[str, str]
) -> list[Difference]:
    name = str(old["name"])
    differences = [
        Difference(name, what, phrase)
        for part, what in (("needs", What.GRAPH), ("settings", What.SETTINGS), ("content", What.CONTENT))
        for phrase in _phrases(old.get(part, {}), new.get(part, {}))
    ]
    codes = (s.get("code", {}) for s in (old, new))
    differences += [Difference(name, What.CONTENT, f"code.{phrase}") for phrase in _phrases(*codes)]
    if old["stage"] != new["stage"]:
        differences.append(Difference(name, What.GRAPH, f"{old['stage']} → {new['stage']}"))
    for library in sorted({*old["libraries"], *new["libraries"]}):
        versions = had.get(library, "absent"), have.get(library, "absent")
        if versions[0] != versions[1]:
            differences.append(Difference(name, What.LIBRARY, f"{library} {versions[0]} → {versions[1]}"))
    if old.get("digest") not in (None, new.get("digest")):
        differences.append(Difference(name, What.BYTES, f"{_short(old.get('digest'))} → {_short(new.get('digest'))}"))
    return differences


def _phrases(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return [f"{place}: {_short(old)} → {_short(new)}" for place, old, new in keys.changes(before, after)]


def _short(text: Any) -> str:
    """A digest by its first digits, a long text by its beginning."""
    if not isinstance(text, str):
        return "none"
    if re.fullmatch("[0-9a-f]{32,}", text):
        return f"{text[:12]}…"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
