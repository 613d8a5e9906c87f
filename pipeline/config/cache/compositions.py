"""A cache of compositions: the same command, files and environment come to the same configuration, without Hydra.

    words, folder ─► a file of the cache ─► is all that was read unchanged? ─► configuration and stages
                            ▲                        └─ no: Hydra composes
                            └── written after Hydra has composed, if only the run's folder depends on the time

Only single runs of KEY=VALUE words are cached; Hydra handles sweeps, flags and errors. The file belongs to this user; a
file that others could have written is not read.
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

from pipeline.config.cache import sources
from pipeline.config.composed import Composed
from pipeline.config.instantiate import find_stage
from pipeline.errors import ConfigError
from pipeline.stage import Stage
from pipeline.store.files import read_owned, remove_dead, write_json

SCHEMA = 1
# The largest number of files, of some 100 KiB each. The oldest are removed first.
MOST = 200
# Placeholders: of the run's folder in the text, and of the time in the name of that folder.
RUN, MOMENT = "@run-folder@", re.compile("@now:([^@]*)@")
# Folders that YAML and JSON write without quotes or escapes.
PLAIN = re.compile(r"[\w/.+-]+", re.ASCII)
# Variables that every composition depends on.
ALWAYS = ("DRYDOCK_CONF", "DRYDOCK_TRUST", "PYTHONPATH")


@dataclass(frozen=True)
class Composition:
    """What a run needs of a composition.

    Args:
        composed: The configuration, with its stages built.
        folder: The run's folder.
        files: The files that Hydra writes about a run: path below that folder to text.
        logging: The configuration of Python's logging.
    """

    composed: Composed
    folder: Path
    files: Mapping[str, str]
    logging: Mapping[str, Any]


@dataclass(frozen=True)
class Draft:
    """A composition of Hydra, to be cached.

    Args:
        composed: The configuration.
        stages: Each built from it, by name.
        folder: The run's folder.
        template: The name of that folder, with `@now:FORMAT@` for each part that depends on the time.
        files: See Composition.
        logging: See Composition.
        searched: The folders in which Hydra looks for YAMLs; they need not exist.
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


def cacheable(words: Sequence[str]) -> bool:
    """Whether the composition of these words may be cached."""
    return all("=" in word and not word.startswith(("-", "hydra")) for word in words)


def find(words: Sequence[str]) -> Composition | None:
    """The cached composition of a command; None when there is none, or when one of its sources has changed."""
    if not cacheable(words):
        return None
    try:
        content, at = read_owned(path := _path(words))
        if not isinstance(content, dict) or at is None or at.st_uid != os.geteuid() or at.st_mode & 0o022:
            return None
        if (content["schema"], content["words"], content["here"]) != (SCHEMA, list(words), str(Path.cwd())):
            return None
        if not sources.unchanged(content["seen"]) or _environment(content["environment"]) != content["environment"]:
            return None
        composition = _filled(content)
    except (KeyError, TypeError, ValueError, AttributeError, OSError, RuntimeError, ConfigError):
        return None  # of another version, torn, or no place for it: Hydra composes
    with contextlib.suppress(OSError):
        os.utime(path)  # the oldest are removed first
    return composition


def save(words: Sequence[str], draft: Draft) -> None:
    """Writes a composition to the cache, unless a source is younger than this process or a value has no JSON form.

    Args:
        words: What was typed.
        draft: The composition.
    """
    if not PLAIN.fullmatch(folder := str(draft.folder)) or not _names(draft.template, draft.folder):
        return
    snapshot = sources.now(draft.searched, before=sources.began())
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
    with contextlib.suppress(TypeError, ValueError, OSError, RuntimeError):
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


def _filled(content: Mapping[str, Any]) -> Composition:
    """The composition for a run that begins now."""
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
    return Composition(composed, Path(folder), text["files"], text["logging"])


def _is_same(draft: Draft, content: Mapping[str, Any]) -> bool:
    """Whether the content reads back equal: JSON has no tuples, and no numbers as keys."""
    text = json.loads(content["text"].replace(RUN, str(draft.folder)))
    stages = {name: _built(plain) for name, (_, plain) in text["stages"].items()}
    composed = dataclasses.replace(draft.composed, stages=None)
    read = Composed(text["config"], text["overrides"], text["choices"], text["surroundings"])
    return RUN not in json.dumps(draft.composed.config) and (read, stages) == (composed, dict(draft.stages))


def _names(template: str, folder: Path) -> bool:
    """Whether the template gives names like that of this folder."""
    parts = [re.escape(part) if i % 2 == 0 else ".+" for i, part in enumerate(MOMENT.split(template))]
    here = "" if template.startswith("/") else f"{re.escape(str(Path.cwd()))}/"
    return re.fullmatch(here + "".join(parts), str(folder)) is not None


def _plain(value: Any) -> Any:
    """The JSON form of a setting's value. Raises TypeError for types without one."""
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
    """The inverse of `_plain`. Raises TypeError for a class that is no dataclass, KeyError for one not yet imported."""
    if isinstance(plain, list):
        return [_built(item) for item in plain]
    if not isinstance(plain, dict):
        return plain
    if "items" in plain:
        return {_built(k): _built(v) for k, v in plain["items"]}
    module, name = plain["class"]
    cls = getattr(sys.modules[module], name)
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        raise TypeError(name)
    return cls(**{field: _built(value) for field, value in plain["fields"].items()})


def _make_room(folder: Path) -> None:
    """Removes the oldest files when there are too many."""
    remove_dead(folder)
    files = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
    for path in files[: max(0, len(files) - MOST + 1)]:
        path.unlink(missing_ok=True)
