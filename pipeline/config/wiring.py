"""conf/wiring/: the groups that other choices decide. A message says what to type instead.

The texts of the messages stand in conf/wiring/names.yaml.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pipeline.errors import ConfigError, Problem

_HERE = Path(__file__).resolve().parents[1]
# In a wheel conf/ lies inside the package, in a checkout beside it.
CONF = next(d for d in (_HERE / "conf", _HERE.parent / "conf") if d.is_dir())
GROUP = "wiring"
_TYPED = re.compile(r"(?P<sign>[+~]*)(?P<path>[\w/]+)(@[^=]*)?(=(?P<options>.*))?", re.DOTALL)


def refuse(overrides: Sequence[str], conf: Path) -> None:
    """Raises ConfigError for every override of a wiring group, by its present or its former name.

    Args:
        overrides: As they were typed.
        conf: The folder of the shipped configurations.
    """
    if problems := [problem for typed in overrides if (problem := _typed(typed, conf))]:
        raise ConfigError(problems)


def renamed(group: str, option: str, written: str, conf: Path) -> Problem | None:
    """The Problem of a defaults list that has the former name of a wiring group; None for any other group.

    Args:
        group: The group as it is written there, such as "/ir" or "override /ir".
        option: The option that is chosen there.
        written: The text of the entry, and its place.
        conf: The folder of the shipped configurations.
    """
    name = group.rpartition("/")[2]
    if not re.fullmatch(r"(override )?/\w+", group) or name not in _groups(conf):
        return None
    now = _words(name, "now", [option], conf) or f"{group.replace('/', f'/{GROUP}/')}: {option}"
    return Problem(f"{written}, and the group {name} lies in conf/{GROUP}/ now", command=f"{now} in its place")


def _typed(typed: str, conf: Path) -> Problem | None:
    if not (match := _TYPED.fullmatch(typed)):
        return None
    group = match["path"].removeprefix(f"{GROUP}/")
    if group in _groups(conf):
        chosen = _words(group, "chosen", [], conf)
        out = "the same command without it"
        instead = out if "~" in match["sign"] else _words(group, "type", (match["options"] or "").split(","), conf)
        return Problem(f"{typed}: {group} is {GROUP} that {chosen}", command=instead)
    if match["path"].partition("/")[0] == GROUP:
        shows = "python -m pipeline --help shows all choices"
        return Problem(f"{typed}: nothing in conf/{GROUP}/ is chosen by itself", command=shows)
    return None


def _words(group: str, about: str, options: Sequence[str], conf: Path) -> str:
    """The text of names.yaml about a group, with the options filled in where the text has a place for them."""
    words: Any = OmegaConf.select(OmegaConf.load(_file(conf)), f"{group}.{about}", default="")
    if isinstance(words, Mapping):
        words = words.get(",".join(options), words["else"])
    if choice := re.search(r"(\w+)(@\S+)?=NAME", words):  # this choice may lack options of the wiring group
        options = [o for o in options if (conf / choice[1] / f"{o}.yaml").is_file()]
    return str(words).replace("NAME", ",".join(options) or "NAME")


@functools.cache
def _groups(conf: Path) -> list[str]:
    """The groups of names.yaml, read without a parser: every start needs them."""
    return re.findall(r"^(\w+):", _file(conf).read_text(), re.MULTILINE)


def _file(conf: Path) -> Path:
    return conf / GROUP / "names.yaml"
