"""Compositions that are kept: the same command, files and environment come to the same configuration, without Hydra.

    words, folder ─► the file that is kept of them ─► is all that was read as it was? ─► configuration and stages
                            ▲                                └─ no: Hydra composes
                            └── written once Hydra has composed, and nothing in it is of the moment but the run's folder

Only KEY=VALUE is kept, of a single run; sweeps, flags and errors are Hydra's. The file is this user's own, in their
cache folder; what anybody else could have written is not read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.config import seen
from pipeline.config.composed import Composed
from pipeline.config.instantiate import find_stage
from pipeline.errors import ConfigError
from pipeline.stage import Stage
from pipeline.store.files import read_owned, remove_dead, write_json

SCHEMA = 1
# How many are kept; each has some 100 KiB. The oldest go first.
MOST = 200
# Stands for the run's folder in what is kept, and for a moment in the name of that folder.
RUN, MOMENT = "@run-folder@", re.compile("@now:([^@]*)@")
# A folder whose name stands in YAML and JSON as it is.
PLAIN = re.compile(r"[\w/.+-]+", re.ASCII)
# Decides how a command is read, whatever the YAMLs say.
ALWAYS = ("DRYDOCK_CONF", "DRYDOCK_TRUST", "PYTHONPATH")


@dataclass(frozen=True)
class Kept:
    """A composition as a run needs it.

    Args:
        composed: The configuration, with its stages built.
        folder: The run's own.
        files: What Hydra writes about a run, by path below that folder.
        logging: The configuration of Python's logging.
    """

    composed: Composed
    folder: Path
    files: Mapping[str, str]
    logging: Mapping[str, Any]


@dataclass(frozen=True)
class Draft:
    """What Hydra composed, to be kept.

    Args:
        composed: The configuration.
        stages: Each built from it, by name.
        folder: The run's own.
        template: What that is called, with `@now:FORMAT@` for each part that is of the moment.
        files: As Kept has them.
        logging: Likewise.
        searched: The folders in which YAMLs were looked for, whether they are there or not.
        environment: The variables that YAMLs or words name.
    """

    composed: Composed
    stages: Mapping[str, Stage]
    folder: Path
    template: str
    files: Mapping[str, str]
    logging: Mapping[str, Any]
    searched: Sequence[Path]
    environment: Sequence[str]


def may_be(words: Sequence[str]) -> bool:
    """Whether what these words come to may be kept."""
    return all("=" in word and not word.startswith(("-", "hydra")) for word in words)


def find(words: Sequence[str]) -> Kept | None:
    """The composition of a command, if it is kept and nothing that it was made of has changed; None otherwise."""
    if not may_be(words):
        return None
    content, at = read_owned(path := _path(words))
    if not isinstance(content, dict) or at is None or at.st_uid != os.geteuid() or at.st_mode & 0o022:
        return None
    try:
        if (content["schema"], content["words"], content["here"]) != (SCHEMA, list(words), str(Path.cwd())):
            return None
        if not seen.unchanged(content["seen"]) or _environment(content["environment"]) != content["environment"]:
            return None
        found = _filled(content)
    except (KeyError, TypeError, ValueError, AttributeError, OSError, ConfigError):
        return None  # of another version, or torn: Hydra composes, and it is written anew
    with contextlib.suppress(OSError):
        os.utime(path)  # the oldest go first
    return found


def keep(words: Sequence[str], draft: Draft) -> None:
    """Keeps a composition, unless something in it is younger than this process, or has no plain form.

    Args:
        words: What was typed.
        draft: What it came to.
    """
    if not PLAIN.fullmatch(folder := str(draft.folder)) or not _names(draft.template, draft.folder):
        return
    snapshot = seen.now(draft.searched, before=seen.began())
    if snapshot is None:
        return
    settings = draft.composed.config["stages"]
    text = {
        "config": draft.composed.config,
        "overrides": draft.composed.overrides,
        "choices": draft.composed.choices,
        "surroundings": draft.composed.surroundings,
        "files": dict(draft.files),
        "logging": dict(draft.logging),
    }
    with contextlib.suppress(TypeError, ValueError, OSError):
        text["stages"] = {name: [settings[name]["_target_"], _plain(it)] for name, it in draft.stages.items()}
        content = {
            "schema": SCHEMA,
            "words": list(words),
            "here": str(Path.cwd()),
            "environment": _environment([*ALWAYS, *draft.environment]),
            "seen": snapshot,
            "template": draft.template,
            "text": json.dumps(text, allow_nan=False).replace(folder, RUN),
        }
        if not _is_same(draft, json.loads(json.dumps(content))):
            return
        (path := _path(words)).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_room(path.parent)
        write_json(path, content, mode=0o600)


def _path(words: Sequence[str]) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "drydock" / "compositions"
    command = json.dumps([SCHEMA, list(words), str(Path.cwd()), sys.executable, sys.version, __file__])
    return cache / f"{hashlib.sha256(command.encode()).hexdigest()}.json"


def _environment(names: Mapping[str, Any] | Sequence[str]) -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in names}


def _filled(content: Mapping[str, Any]) -> Kept:
    """What is kept, for a run of this moment."""
    now = datetime.now()
    name = MOMENT.sub(lambda part: now.strftime(part[1]), content["template"])
    if not PLAIN.fullmatch(folder := str(Path(name).absolute())):
        raise ValueError(folder)
    text = json.loads(content["text"].replace(RUN, folder))
    stages = {}
    for stage, (target, plain) in text["stages"].items():
        find_stage(target)  # imports it, if that is allowed
        stages[stage] = _built(plain)
    composed = Composed(text["config"], text["overrides"], text["choices"], text["surroundings"], stages)
    return Kept(composed, Path(folder), text["files"], text["logging"])


def _is_same(draft: Draft, content: Mapping[str, Any]) -> bool:
    """Whether what is read back is what was composed: JSON has no tuples, no numbers for keys and one NaN too many."""
    text = json.loads(content["text"].replace(RUN, str(draft.folder)))
    stages = {name: _built(plain) for name, (_, plain) in text["stages"].items()}
    composed = dataclasses.replace(draft.composed, stages=None)
    read = Composed(text["config"], text["overrides"], text["choices"], text["surroundings"])
    return RUN not in json.dumps(draft.composed.config) and (read, stages) == (composed, dict(draft.stages))


def _names(template: str, folder: Path) -> bool:
    """Whether a run's folder is called by a template."""
    parts = [re.escape(part) if i % 2 == 0 else ".+" for i, part in enumerate(MOMENT.split(template))]
    here = "" if template.startswith("/") else f"{re.escape(str(Path.cwd()))}/"
    return re.fullmatch(here + "".join(parts), str(folder)) is not None


def _plain(value: Any) -> Any:
    """JSON of a setting's value. Raises TypeError for a type that has none here."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
        return {"class": [type(value).__module__, type(value).__qualname__], "fields": fields}
    if isinstance(value, dict):
        return {"items": [[_plain(k), _plain(v)] for k, v in value.items()]}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if value is None or type(value) in (str, bool, int, float):
        return value
    raise TypeError(type(value).__name__)


def _built(plain: Any) -> Any:
    """The value that `_plain` gave this of. Its classes are those that are imported by now, and dataclasses."""
    if isinstance(plain, list):
        return [_built(item) for item in plain]
    if not isinstance(plain, dict):
        return plain
    if "items" in plain:
        return {_built(k): _built(v) for k, v in plain["items"]}
    module, name = plain["class"]
    found = getattr(sys.modules[module], name)
    if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
        raise TypeError(name)
    return found(**{field: _built(value) for field, value in plain["fields"].items()})


def _make_room(folder: Path) -> None:
    """Removes the oldest, where there are too many."""
    remove_dead(folder)
    kept = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
    for path in kept[: max(0, len(kept) - MOST + 1)]:
        path.unlink(missing_ok=True)
