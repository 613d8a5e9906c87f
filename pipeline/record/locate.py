"""The record at a path: of a model file, a delivered folder, a run's folder or a lock."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline import disk, formats
from pipeline.artifact import RECORD as RECORD_NAME
from pipeline.errors import ConfigError
from pipeline.record import carrier, lineage, older
from pipeline.record.carrier import Carrier
from pipeline.store.files import read_json, sha256
from pipeline.store.store import FACTS

RUN = "run.json"
LOCK = ".lock.json"
ALLOWED = "a delivered model file or folder, a run's folder or its run.json, or an experiment's .lock.json"
# What a record and its parts have at least; see lineage.py.
RECORD: Mapping[str, type] = {
    **dict.fromkeys(("model", "target", "kind", "digest", "drydock", "made_by", "handed_on_by"), str),
    **dict.fromkeys(("precision", "content", "facts", "libraries", "sources"), dict),
    **dict.fromkeys(("schema", "seed"), int),
    **dict.fromkeys(("checks", "stages"), list),
}
STAGE: Mapping[str, type] = {
    "name": str,
    "stage": str,
    "settings": dict,
    "needs": dict,
    "libraries": list,
}
CHECK: Mapping[str, type] = {"stage": str, "of": str}


@dataclass(frozen=True)
class LocatedRecord:
    """A record and the file that has it.

    Args:
        record: The record.
        path: The file that held it.
        run: The content of run.json, where the path is a run's.
        lock: The content of a lock, where the path is a lock's.
        model: The model file that the record describes, where it exists.
        folder: The delivered folder, where the path is one: all its files should exist.
    """

    record: Mapping[str, Any]
    path: Path
    run: Mapping[str, Any] | None = None
    lock: Mapping[str, Any] | None = None
    model: Path | None = None
    folder: Path | None = None

    def files(self) -> dict[str, Path]:
        """Where the copies of the stored artifact's files are, by their names in the store; empty without a model."""
        form = carrier.of_kind(self.record["kind"])
        if self.model is None or form is None:
            return {}
        stem = Path(PurePosixPath(form.FILE).parts[0]).stem  # files with this stem were renamed to the model's name
        paths = {}
        for name in self.record["content"]:
            first, *inside = PurePosixPath(name).parts
            renamed = self.model.with_suffix(Path(first).suffix) if Path(first).stem == stem else None
            paths[name] = (renamed or self.model.parent / first).joinpath(*inside)
        return paths

    def changes(self) -> list[str]:
        """The changes since the delivery, a sentence for each file; empty where all files are as recorded.

        Raises OSError.
        """
        if self.folder is not None and self.model is None:
            return [f"the model file is not in {self.folder}"]
        form = carrier.of_kind(self.record["kind"])
        expected = {path: (self.record["content"][name], name) for name, path in self.files().items()}
        changed = [change for path, (digest, name) in expected.items() if (change := _change(path, digest, form, name))]
        if self.folder is not None:
            beside = {self.folder / n: d for n, d in self.record.get("sha256", {}).items()}
            changed += [change for p, d in beside.items() if p not in expected and (change := _change(p, d, None, ""))]
            carried = form.get(carrier.holder(form, self.model)) if form and self.model else None
            inside = None if carried is None else older.in_todays_form(json.loads(carried), lineage.SCHEMA)
            if inside is not None and inside != {n: self.record.get(n) for n in inside}:
                changed.append(f"{FACTS} is not the record that {self.model and self.model.name} carries")
        return changed


def _change(path: Path, expected: str, form: Carrier | None, name: str) -> str:
    """How a file differs from the delivered one, as text; empty where it does not."""
    if not path.is_file():
        return f"{path.name} is not there"
    try:
        now = form.bare(path) if form and name == form.FILE else sha256(path)
    except ValueError as e:
        return str(e)
    return "" if now == expected else f"{path.name} is not what was handed over: its content has another SHA-256"


def find(path: Path) -> LocatedRecord:
    """The record at a path. Raises ConfigError when there is none, or none that can be read."""
    with whole(path):
        try:
            return _find(path.expanduser())
        except OSError as e:
            raise ConfigError(f"{path} cannot be read: {e.strerror}", allowed=ALLOWED) from e


@contextlib.contextmanager
def whole(path: Path) -> Iterator[None]:
    """Converts the exceptions of reading an edited record, run or lock to a ConfigError."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError) as e:
        raise ConfigError(
            f"{path} holds a record that is not whole: {type(e).__name__}: {e}",
            allowed=ALLOWED,
            command="what wrote it, once more",
        ) from e


def _find(path: Path) -> LocatedRecord:
    if path.is_dir() and carrier.of_file(path) is None:
        for name in (FACTS, RUN):
            if (path / name).is_file():
                return _find(path / name)
        raise ConfigError(f"{path} holds neither {FACTS} nor {RUN}", allowed=ALLOWED)
    if not path.exists():
        raise ConfigError(f"there is no {path}", allowed=ALLOWED)
    if what := disk.special(path):  # reading it may never end
        raise ConfigError(f"{path} is {what}, and no file", allowed=ALLOWED)
    if path.name.endswith(LOCK):
        lock = _json(path)
        return LocatedRecord(_checked(lock.get("record"), path), path, lock=lock)
    if path.name == FACTS:
        record = _checked(_json(path), path)
        return LocatedRecord(record, path, model=_main(path.parent, record), folder=path.parent)
    if path.suffix == ".json":
        run = _json(path)
        if RECORD_NAME in run:
            return _in_model(path)
        if "record" not in run:
            raise ConfigError(
                f"{path} holds no record: that run delivered nothing, or is older than records",
                allowed="the run.json of a run that ended well",
                command="the same pipeline command again",
            )
        record = _checked(run["record"], path)
        artifact = Path(run["artifact"]) if isinstance(run.get("artifact"), str) else None
        return LocatedRecord(record, path, run=run, model=artifact if artifact and artifact.exists() else None)
    return _in_model(path)


def _in_model(path: Path) -> LocatedRecord:
    model = carrier.standing_for(path)
    form = carrier.of_file(model)
    if form is None:
        raise ConfigError(f"{path} is of no format that carries a record", allowed=ALLOWED)
    holder = carrier.holder(form, model)
    try:
        text = form.get(holder)
    except ValueError as e:
        raise ConfigError(str(e), allowed=ALLOWED) from e
    if text is None:
        raise ConfigError(
            f"{holder} carries no record: Drydock did not hand it over, or what wrote it since dropped it",
            allowed=ALLOWED,
        )
    try:
        record = _checked(json.loads(text), holder)
    except ValueError as e:
        raise ConfigError(f"the record in {holder} is not whole: {e}", allowed=ALLOWED) from e
    return LocatedRecord(record, holder, model=model)


def _json(path: Path) -> dict[str, Any]:
    read = read_json(path)
    if not isinstance(read, dict):
        raise ConfigError(f"{path} is no JSON file of ours", allowed=ALLOWED)
    return read


def _checked(record: Any, path: Path) -> dict[str, Any]:
    """The record, in today's form. Raises ConfigError unless it is complete and of a known schema."""
    if isinstance(record, dict) and isinstance(record.get("schema"), int):
        if record["schema"] not in (older.KNOWN, lineage.SCHEMA):
            raise ConfigError(
                f"{path} holds a record of schema {record['schema']}",
                allowed=f"schema {older.KNOWN} or {lineage.SCHEMA}",
                command="the version of Drydock that it names",
            )
        record = older.in_todays_form(record, lineage.SCHEMA)
    if (
        not _fits(record, RECORD)
        or record["kind"] not in formats.all_formats()
        or not all(_fits(s, STAGE) for s in record["stages"])
        or not all(_fits(c, CHECK) for c in record["checks"])
        or not {record["made_by"], record["handed_on_by"]} <= {s["name"] for s in record["stages"]}
        or not re.fullmatch("[0-9a-f]{64}", record["digest"])
        or not all(
            _is_inside(name) for name in (*record["content"], *record.get("sha256", ()), *record.get("files", ()))
        )
        or len({s["name"] for s in record["stages"]}) < len(record["stages"])
        or not all(isinstance(record["precision"].get(name), str) for name in ("name", "storage", "compute"))
        or "${" in json.dumps(record["stages"])  # would be resolved, on this machine
    ):
        raise ConfigError(f"{path} holds no record of ours, or not all of one", allowed=ALLOWED)
    assert isinstance(record, dict)
    return record


def _is_inside(name: Any) -> bool:
    """Whether a name stays in the folder that it is looked for in: records come from anywhere."""
    path = PurePosixPath(str(name))
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _fits(value: Any, keys: Mapping[str, type]) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(n), t) for n, t in keys.items())


def _main(folder: Path, record: Mapping[str, Any]) -> Path | None:
    """The file among a delivered folder's that carries the record."""
    form = carrier.of_kind(record["kind"])
    candidates = [folder / str(f) for f in record.get("files", ()) if form and str(f).endswith(form.SUFFIX)]
    return next((p for p in candidates if p.exists()), None)
