"""The copy that the user is handed: complete, verified and independent of the store, or not there at all."""

from __future__ import annotations

import errno
import shutil
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pipeline.artifact import Artifact
from pipeline.errors import ConfigError, StageError
from pipeline.stage import Stage
from pipeline.store import Store
from pipeline.store.files import read_json, sha256, walk, write_json
from pipeline.store.store import FACTS


def refuse(output: Path, store: Path, taken: Sequence[Path]) -> None:
    """Makes sure, without touching the disk, that delivering to `output` would harm nothing.

    Args:
        output: The folder to deliver to.
        store: The store's root, which is nobody's output.
        taken: Where other jobs of the same sweep delivered.

    Raises ConfigError.
    """
    if output.exists() and not _replaceable(output):
        raise _in_the_way(output)
    if output.resolve().is_relative_to(store.resolve()):
        raise ConfigError(f"output={output} lies in the store {store}", command="output=/another/folder")
    if output in taken:
        raise ConfigError(
            f"output={output} is the same for several jobs of this sweep",
            allowed="a folder for each job, as the default is",
            command=f"'output={output}/${{hydra:job.num}}'",
        )


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


def deliver(stage: Stage, inputs: Mapping[str, Artifact], store: Store, output: Path) -> tuple[Path, Artifact]:
    """Runs a delivering stage beside `output`, verifies what it read and wrote, and renames the folder into place.

    Returns the path of the delivered file and what the stage made. Raises StageError; Damaged when what was copied is
    not what was published.
    """
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
        artifact = next(iter(inputs.values()))
        _expect_whole(artifact, store, beside, made.notes.get("copies"))
        write_json(beside / FACTS, _told(artifact, beside, sums=bool(made.notes.get("bundle"))))
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


def _told(artifact: Artifact, folder: Path, *, sums: bool) -> dict[str, Any]:
    """What artifact.json says of a delivered folder, with the SHA-256 of each file where it is to check itself."""
    files = sorted(f.name for f in folder.iterdir())
    plain = {"digest": artifact.digest, "kind": artifact.kind, "facts": dict(artifact.facts)}
    told = {**(artifact.record or plain), "files": files}
    return {**told, "sha256": {name: sha256(folder / name) for name in files}} if sums else told


def _expect_whole(artifact: Artifact, store: Store, copy: Path, copies: Mapping[str, str] | None) -> None:
    """Compares the copies with the manifest by size; names may differ, as the stage says. Raises StageError."""
    wanted = {f.path: f.size for f in store.files(artifact.digest) if f.path != FACTS}
    found = [f for f in walk(copy) if copies is None or f.name in copies]
    named = copies is None or sorted(copies.values()) == sorted(wanted)
    if not named or sorted(f.stat().st_size for f in found) != sorted(wanted.values()):
        raise StageError(f"the copy written to {copy.parent} is not whole")


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
