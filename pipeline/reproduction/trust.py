"""Whose code a record may have run. A record comes with a file, from anybody; a configuration is one's own.

A run of this user's is their own, too. Their store recognises it by the content of its run.json. Neither the place nor
the owner of that file counts: a download may be anywhere, and its owner is the user who unpacked it.

Everything that a record names is refused unless it is known to be harmless, or a person has named it: modules to
import, files to read, and actions of a stage that need a person's consent.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.config.instantiate import TRUST, find_stage
from pipeline.errors import ConfigError, Problem
from pipeline.stage import Stage
from pipeline.store import Store

# Builders that the shipped models call: functions and classes, none of them private, that make modules.
BUILDERS = (
    r"torchvision\.models(\.[a-z]\w*)*\.[A-Za-z]\w*",
    r"timm\.create_model",
    r"torch\.nn\.[A-Z]\w*",
    r"transformers\.\w*(Auto|Model|For[A-Z])\w*",
)
DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


def is_own(run: Mapping[str, Any] | None, store: Sequence[Path]) -> bool:
    """Whether a run of this user's wrote a run.json.

    Args:
        run: The whole content of the run.json; None for a record from elsewhere.
        store: The folders of this user's store. Never one that the run.json names.

    Raises ConfigError for a store that cannot be read.
    """
    return run is not None and store[0].is_dir() and Store(*store).wrote(run)


def demand(record: Mapping[str, Any], assignments: Sequence[str]) -> None:
    """Refuses code that a record names and no person has allowed.

    Args:
        record: As it was found; nothing of it has been built yet.
        assignments: The assignments that were typed, such as "stages.load.weights=net.pth".

    Raises ConfigError with everything that is refused.
    """
    trusted = {pattern.partition(".")[0] for pattern in os.environ.get(TRUST, "").split(":") if pattern}
    typed = {text.partition("=")[0] for text in assignments}
    problems = [problem for stage in record["stages"] for problem in (*_code(stage, trusted), *_consent(stage, typed))]
    if problems:
        raise ConfigError(problems)


def _code(stage: Mapping[str, Any], trusted: Collection[str]) -> Iterator[Problem]:
    for text in dict.fromkeys(_texts(stage["settings"])):
        top = text.partition(".")[0]
        is_builder = any(re.fullmatch(pattern, text) for pattern in BUILDERS)
        if not DOTTED.fullmatch(text) or is_builder or top in trusted or importlib.util.find_spec(top) is None:
            continue
        yield Problem(
            f"stages.{stage['name']} would import '{text}' and may call it, which the record names",
            allowed="builders of torchvision, timm and transformers, layers of torch.nn, and code of the packages that "
            f"{TRUST} names",
            command=f"{TRUST}={top} python -m pipeline.reproduce …, if you know that code",
        )


def demand_typed(stages: Mapping[str, Stage], assignments: Sequence[str]) -> None:
    """Refuses stages of a record that read files which were not typed: a record of ours names no files.

    Raises ConfigError with every other.
    """
    typed = {text.partition("=")[2] for text in assignments}
    problems = [
        Problem(
            f"stages.{name} would read {file}, which the record names",
            allowed="files that are typed here",
            command="python -m pipeline.inspect --json shows the record",
        )
        for name, stage in stages.items()
        for file in sorted(stage.files() - typed)
    ]
    if problems:
        raise ConfigError(problems)


def _consent(stage: Mapping[str, Any], typed: Collection[str]) -> Iterator[Problem]:
    setting = find_stage(str(stage.get("class", stage["stage"]))).consent
    if setting and f"stages.{stage['name']}.{setting}" not in typed:
        yield Problem(
            f"stages.{stage['name']} loads a file that can run any code, and the record alone vouches for it",
            allowed=f"a stages.{stage['name']}.{setting} that is typed here",
            command=f"the same command with stages.{stage['name']}.{setting}={stage['settings'].get(setting)}, "
            "if you trust where that file came from",
        )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield str(name)
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value
