"""What identifies a result: the key of a stage, and why one key differs from another."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

SCHEMA = 2
# The field with the digest of our own code. `differences` names changed files instead.
OWN_CODE = "code.stages"


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces.

    Raises:
        TypeError: For NaN, infinities, keys that are not strings, sets and every other type. The standard encoder
            accepts some of them, or has two texts for one value.
    """
    _refuse_the_ambiguous(value, "")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _refuse_the_ambiguous(value: Any, place: str) -> None:
    if isinstance(value, Mapping):
        for name, item in value.items():
            if not isinstance(name, str):
                raise TypeError(
                    f"{place or 'value'}: key {name!r} is {type(name).__name__}, only str has one JSON form"
                )
            _refuse_the_ambiguous(item, f"{place}.{name}".lstrip("."))
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            _refuse_the_ambiguous(item, f"{place}[{i}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise TypeError(f"{place or 'value'}: {value} has no JSON form")
    elif value is not None and not isinstance(value, (str, bool, int, float)):
        raise TypeError(f"{place or 'value'}: {type(value).__name__} has no canonical JSON form")


def document(
    *,
    stage: str,
    contract: int,
    code: Mapping[str, str],
    settings: Mapping[str, Any],
    inputs: Mapping[str, str],
    libraries: Mapping[str, str],
) -> dict[str, Any]:
    """Everything that decides a stage's result, and nothing else: no path, date, host or thread count.

    Args:
        stage: The stage's name.
        contract: The version of the contract between stages and core.
        code: Identifies the code that builds the result: a digest of our files. For a stage from elsewhere also its
            distribution's version or its source's digest.
        settings: The stage's identity, plain JSON.
        inputs: Port name to content digest.
        libraries: Module name to installed version, for the libraries that the stage declares.
    """
    return {
        "schema": SCHEMA,
        "stage": stage,
        "contract": contract,
        "code": dict(code),
        "settings": dict(settings),
        "inputs": dict(inputs),
        "libraries": dict(libraries),
    }


def digest(key_document: Mapping[str, Any]) -> str:
    """The key: SHA-256 of the canonical document, 64 hex digits."""
    return hashlib.sha256(canonical(key_document).encode()).hexdigest()


def differences(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    had: Mapping[str, str] = MappingProxyType({}),
    have: Mapping[str, str] = MappingProxyType({}),
) -> list[str]:
    """The differences of two key documents, a short phrase for each, such as "settings.opset: 18 → 20".

    Args:
        before: One document.
        after: The other.
        had: The digests of the first document's source files, by path.
        have: The digests of the other document's source files, by path.
    """
    apart = changes(before, after)
    found = [_phrase(*change) for change in apart if change[0] != OWN_CODE]
    if len(found) < len(apart):
        files = sorted(path for path in had.keys() | have.keys() if had.get(path) != have.get(path))
        found += [f"code: {path}" for path in files] or ["code"]
    return found


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Where two plain mappings differ: the place, and the text of the innermost value in each of them."""
    old, new = dict(_leaves(before, "")), dict(_leaves(after, ""))
    changed = sorted(k for k in old.keys() | new.keys() if k and old.get(k) != new.get(k))  # "": an empty mapping
    return [(k, old.get(k, "absent"), new.get(k, "absent")) for k in changed]


def _leaves(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """Each innermost value as its canonical text, in which 1, 1.0 and true differ."""
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _leaves(item, f"{place}.{name}".lstrip("."))
    else:
        yield place, value if isinstance(value, str) else canonical(value)


def _phrase(place: str, old: str, new: str) -> str:
    if place.startswith("inputs."):
        return f"another {place.removeprefix('inputs.')}"
    return f"{place}: {_short(old)} → {_short(new)}"


def _short(text: str) -> str:
    return text if len(text) <= 24 else text[:12] + "…"
