"""The copy that the user is handed: complete, verified and independent of the store, or not there at all."""

from __future__ import annotations

import errno
import shutil
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.artifact import Artifact
from pipeline.errors import ConfigError, StageError
from pipeline.record import carrier, lineage
from pipeline.stage import Stage
from pipeline.store import Store
from pipeline.store.files import read_json, sha256, walk, write_json
from pipeline.store.store import FACTS


def refuse(output: Path, store: Path) -> None:
    """Makes sure, without touching the disk, that delivering to `output` would harm nothing.

    Args:
        output: The folder to deliver to.
        store: The store's root, which is nobody's output.

    Raises ConfigError.
    """
    if output.exists() and not _replaceable(output):
        raise _in_the_way(output)
    if output.resolve().is_relative_to(store.resolve()):
        raise ConfigError(f"output={output} lies in the store {store}", command="output=/another/folder")


def check(output: Path) -> None:
    """Makes sure, before any work, that `output` can be written. Raises ConfigError."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        probe = output.parent / f".drydock-{uuid.uuid4().hex[:8]}"
        probe.mkdir()
        probe.rmdir()
    except OSError as e:
        raise ConfigError(
            f"output={output} cannot be written: {e.strerror}",
            allowed="a folder that this user can write",
            command="output=/another/folder",
        ) from e


def deliver(
    stage: Stage, inputs: Mapping[str, Artifact], store: Store, output: Path, record: Mapping[str, Any]
) -> tuple[Path, Artifact]:
    """Runs a delivering stage beside `output`, verifies what it read and wrote, and renames the folder into place.

    Args:
        stage: The stage. Its result's notes say under `file` which file is the artifact, under `copies` which of the
            files it wrote are copies of which of the first input's, and under `bundle` whether a reader is to find the
            SHA-256 of each file in artifact.json.
        inputs: Port name to artifact.
        store: Where these are.
        output: The folder to deliver to.
        record: What the first input was made of; it is put into its files, and into artifact.json.

    Returns the path of the delivered file and what the stage made. Raises StageError; Damaged when what was copied is
    not what was published.
    """
    first = next(iter(inputs))
    inputs = {**inputs, first: replace(inputs[first], record=record)}
    beside = output.parent / f".{output.name}.{uuid.uuid4().hex[:8]}"
    try:
        beside.mkdir(parents=True)
        # The originals are hashed while they are copied: both read the same pages, and hashing frees the interpreter.
        with ThreadPoolExecutor(max_workers=1) as pool:
            originals = [pool.submit(store.open, a.digest) for a in inputs.values()]
            try:
                made = stage.run(inputs, beside)
            finally:
                for original in originals:
                    original.result()
        copies = made.notes.get("copies", {})
        _expect_whole(inputs[first], copies, store, beside)
        _put_record(inputs[first], copies, beside)
        sums = {"sha256": _sums(beside)} if made.notes.get("bundle") else {}
        files = sorted(f.name for f in beside.iterdir())
        write_json(beside / FACTS, {**record, "files": files, **sums}, ordered=True)
        if output.exists() and not _replaceable(output):
            raise _in_the_way(output)
        _swap(beside, output)
    except ValueError as e:
        raise StageError(f"the copy written to {output.parent} cannot be handed over: {e}") from e
    except OSError as e:
        full = e.errno in (errno.ENOSPC, errno.EDQUOT)
        raise StageError(
            f"output={output} cannot be written: {e.strerror}",
            command="free some space" if full else "output=/another/folder",
        ) from e
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return output / str(made.notes["file"]), made


def _in_the_way(output: Path) -> ConfigError:
    return ConfigError(
        f"output={output} is there already and was not delivered by Drydock",
        allowed="a folder that does not exist, is empty, or holds an earlier delivery",
        command=f"output={output}/artifact",
    )


def _replaceable(output: Path) -> bool:
    """Whether a folder holds a delivery and nothing else, several of them in folders of their own, or nothing."""
    if not output.is_dir():
        return False
    facts = read_json(output / FACTS)
    if isinstance(facts, dict) and isinstance(facts.get("files"), list):
        return {f.name for f in output.iterdir()} <= {FACTS, *facts["files"]}
    return all((below / FACTS).is_file() for below in output.iterdir())


def _expect_whole(artifact: Artifact, copies: Mapping[str, str], store: Store, folder: Path) -> None:
    """Compares the copies with the manifest by size; names may differ. Raises StageError."""
    wanted = {f.path: f.size for f in store.files(artifact.digest) if f.path != FACTS}
    found = {f.relative_to(folder).as_posix(): f.stat().st_size for f in walk(folder)}
    if {original: found.get(copy) for copy, original in copies.items()} != wanted:
        raise StageError(f"the copy written to {folder.parent} is not whole")


def _put_record(artifact: Artifact, copies: Mapping[str, str], folder: Path) -> None:
    """Puts the record into the copy of the file that carries it, where the format has a place for one."""
    form = carrier.of(artifact.kind)
    for copy, original in copies.items():
        if form and artifact.record and original == form.FILE:
            form.put(folder / copy, lineage.text(artifact.record))


def _sums(folder: Path) -> dict[str, str]:
    return {f.relative_to(folder).as_posix(): sha256(f) for f in walk(folder)}


def _swap(new: Path, output: Path) -> None:
    """Puts a complete folder in the place of an earlier one; between the two renames there is none, never a mixture."""
    old = output.parent / f".{output.name}.{uuid.uuid4().hex[:8]}.old"
    if output.exists():
        output.rename(old)
    try:
        new.rename(output)
    except OSError:
        if old.exists():
            old.rename(output)
        raise
    shutil.rmtree(old, ignore_errors=True)
