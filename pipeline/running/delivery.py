"""The user's copy of an artifact: complete, verified and independent of the store, or absent."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline import disk
from pipeline.artifact import Artifact
from pipeline.errors import ConfigError, StageError
from pipeline.record import carrier, lineage
from pipeline.running import beside
from pipeline.stage import Stage
from pipeline.store import Store
from pipeline.store.files import read_json, sha256, walk, write_json
from pipeline.store.store import FACTS

COMMAND = "output=/another/folder"


def refuse(output: Path, store: Path) -> None:
    """Makes sure, without touching the disk, that delivering to `output` would harm nothing.

    Args:
        output: The folder to deliver to.
        store: The store's root; an output may not lie in it.

    Raises ConfigError.
    """
    if _is_in_the_way(output):
        raise _in_the_way(output)
    if output.resolve().is_relative_to(store.resolve()):
        raise ConfigError(f"output={output} lies in the store {store}", command=COMMAND)


def check(output: Path) -> None:
    """Makes sure, before any work, that `output` can be written, and clears away what dead runs left beside it.

    Raises ConfigError, StageError.
    """
    place = _followed(output)
    with _explained(output):
        place.parent.mkdir(parents=True, exist_ok=True)
        probe = place.parent / f".drydock-{uuid.uuid4().hex[:8]}"
        probe.mkdir()
        with contextlib.suppress(FileNotFoundError):  # another run removed it as a dead one's
            probe.rmdir()
    beside.clear(place.parent, _whole, place.name)
    if place.is_dir() and not _is_in_the_way(place):
        beside.clear(place, _whole)  # several deliveries, each in its own folder


def deliver(
    stage: Stage, inputs: Mapping[str, Artifact], store: Store, output: Path, record: Mapping[str, Any]
) -> tuple[Path, Artifact]:
    """Runs a delivering stage beside `output`, verifies what it read and wrote, and renames the folder into place.

    If `output` is a link, the link stays and its target is replaced.

    Args:
        stage: The stage. Its result's notes say under `file` which file is the artifact, under `copies` which of the
            files it wrote are copies of which of the first input's, and under `bundle` whether a reader is to find the
            SHA-256 of each file in artifact.json.
        inputs: Port name to artifact.
        store: Where these are.
        output: The folder to deliver to.
        record: The record of the first input, which is written into its files and into artifact.json.

    Returns the path of the delivered file and the stage's result. Raises DrydockError; Damaged when the copied files
    are not those that were published.
    """
    first = next(iter(inputs))
    inputs = {**inputs, first: replace(inputs[first], record=record)}
    place = _followed(output)
    try:
        with _explained(output), beside.folder(place) as new:
            delivered = _written(stage, inputs, store, new, record)
            if _is_in_the_way(place):
                raise _in_the_way(output)
            beside.swap(new, place)
    except ValueError as e:
        raise StageError(f"the copy written to {output.parent} cannot be handed over: {e}", command=disk.AGAIN) from e
    return output / str(delivered.notes["file"]), delivered


def _written(
    stage: Stage, inputs: Mapping[str, Artifact], store: Store, folder: Path, record: Mapping[str, Any]
) -> Artifact:
    """Runs the stage in a folder, and adds the record and artifact.json. Raises as `deliver` does."""
    first = next(iter(inputs.values()))
    # The originals are hashed while they are copied: both read the same pages, and hashing frees the interpreter.
    with ThreadPoolExecutor(max_workers=1) as pool:
        originals = [pool.submit(store.open, a.digest) for a in inputs.values()]
        try:
            delivered = stage.run(inputs, folder)
        finally:
            for original in originals:
                original.result()
    copies = delivered.notes.get("copies", {})
    _expect_whole(first, copies, store, folder)
    _put_record(first, copies, folder)
    sums = {"sha256": _sums(folder)} if delivered.notes.get("bundle") else {}
    files = sorted(f.name for f in folder.iterdir())
    write_json(folder / FACTS, {**record, "files": files, **sums}, ordered=True)
    return delivered


def _explained(output: Path) -> AbstractContextManager[None]:
    return disk.explained(f"output={output}", COMMAND, output)


def _followed(output: Path) -> Path:
    """The target of a link, whether or not it exists."""
    return Path(os.path.realpath(output)) if output.is_symlink() else output


def _in_the_way(output: Path) -> ConfigError:
    if not output.is_dir():
        return ConfigError(
            f"output={output} is a file, or something else that is no folder",
            allowed="a folder that does not exist, is empty, or holds an earlier delivery",
            command=f"output={output.parent / 'artifact'}",
        )
    return ConfigError(
        f"output={output} is there already and was not delivered by Drydock",
        allowed="a folder that does not exist, is empty, or holds an earlier delivery",
        command=f"output={output}/artifact",
    )


def _is_in_the_way(output: Path) -> bool:
    """Whether something other than a delivery is there. Another run may put its own delivery there meanwhile.

    Between the two renames of that there is no folder, and a look that began before and ended after saw half of each:
    only what was there all the time is in the way. Raises OSError.
    """
    while (before := _identity(output)) is not None:
        with contextlib.suppress(FileNotFoundError):
            if _replaceable(output):
                return False
        if _identity(output) == before:
            return True
    return False


def _identity(output: Path) -> tuple[int, int] | None:
    """Which file or folder is there; None where there is none."""
    try:
        at = output.stat()
    except OSError as e:
        if e.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise
    return at.st_dev, at.st_ino


def _replaceable(output: Path) -> bool:
    """Whether a folder is empty, or holds only a delivery, or only several in folders of their own."""
    if not output.is_dir():
        return False
    if (files := _files(output)) is not None:
        return {f.name for f in output.iterdir()} <= files
    return all((below / FACTS).is_file() for below in output.iterdir() if not beside.is_ours(below.name))


def _whole(output: Path) -> bool:
    """Whether a folder holds a complete delivery."""
    return {f.name for f in output.iterdir()} == _files(output)


def _files(output: Path) -> set[str] | None:
    """The files that a delivery lists as its own; None where the folder holds no delivery."""
    facts = read_json(output / FACTS)
    return {FACTS, *facts["files"]} if isinstance(facts, dict) and isinstance(facts.get("files"), list) else None


def _expect_whole(artifact: Artifact, copies: Mapping[str, str], store: Store, folder: Path) -> None:
    """Compares the copies with the manifest by size; names may differ. Raises StageError."""
    expected = {f.path: f.size for f in store.files(artifact.digest) if f.path != FACTS}
    written = {f.relative_to(folder).as_posix(): f.stat().st_size for f in walk(folder)}
    if {original: written.get(copy) for copy, original in copies.items()} != expected:
        raise StageError(f"the copy written to {folder.parent} is not whole", command=disk.AGAIN)


def _put_record(artifact: Artifact, copies: Mapping[str, str], folder: Path) -> None:
    """Puts the record into the copy of the file that carries it, where the format has a place for one."""
    form = carrier.of_kind(artifact.kind)
    for copy, original in copies.items():
        if form and artifact.record and original == form.FILE:
            form.put(folder / copy, lineage.text(artifact.record))


def _sums(folder: Path) -> dict[str, str]:
    return {f.relative_to(folder).as_posix(): sha256(f) for f in walk(folder)}
