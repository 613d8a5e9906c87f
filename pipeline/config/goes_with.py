"""The rules of YAMLs under `goes_with`: by group and option, which values of another group or key go with it.

    goes_with: {also: {compiled: {target: [openvino]}}, route: {direct: {opset: [null]}}}

A rule that allows an option allows those built on it too: target=openvino_direct has openvino in its defaults list.
The rules do not know a user's own options, so these are never refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pipeline.config.tree import Tree
from pipeline.errors import Problem, listed


def broken(rules: Mapping[str, Any], cfg: DictConfig, tree: Tree) -> Iterator[Problem]:
    """The rules that a configuration breaks; rules of an option that another rule already refuses are left out."""
    choices = cfg.hydra.runtime.choices
    violations: dict[tuple[str, str, str], tuple[str, list[str]]] = {}
    for group, options in rules.items():
        for option, conditions in options.items():
            for key, values in conditions.items():
                allowed = [_text(v) for v in values]
                value = _text(choices[key] if key in choices else OmegaConf.select(cfg, key))
                if value not in allowed and not (key in choices and _passes(key, value, allowed, tree)):
                    violations[group, option, key] = value, allowed
    refused = {(key, value) for (_, _, key), (value, _) in violations.items()}
    for (group, option, key), (value, allowed) in violations.items():
        if (group, option) not in refused:
            yield Problem(
                f"{group}={option} does not go with {key}={value}",
                allowed=f"{key}={listed(allowed)}",
                command=" or ".join([*(f"{key}={a}" for a in allowed[:3]), *_instead(group, option, key, value, tree)]),
            )


def _passes(key: str, option: str, allowed: Sequence[str], tree: Tree) -> bool:
    names = set(tree.includes(key, option))
    return bool(names & {*allowed}) or not any(tree.is_shipped(key, name) for name in names)


def _instead(group: str, option: str, key: str, value: str, tree: Tree) -> list[str]:
    """What to type instead of the option, so that the other value can stay."""
    if included := list(tree.includes(group, option))[1:]:
        return [f"{group}={included[0]} {key}={value}"]
    if tree.is_group(key):
        return [f"the same command without {group}={option}"]
    others = (o for o in tree.options(group) if o != option)
    return [
        f"{group}={o}"
        for o in others
        if key not in OmegaConf.select(tree.content(f"{group}/{o}"), f"goes_with.{group}.{o}", default={})
    ]


def _text(value: Any) -> str:
    return "null" if value is None else str(value)
