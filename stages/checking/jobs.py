"""What a contender needs: the folder of its model, a module written for another process, arrays, and its size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import formats
from pipeline.artifact import Artifact
from stages.checking.contender import MODULE, SCRIPT, Job


def write_arrays(arrays: Mapping[str, Any], path: Path) -> Path:
    """Arrays by name, as a contender reads them."""
    from safetensors.numpy import save_file

    save_file(dict(arrays), path)
    return path


def home(artifact: Artifact, folder: Path, written: dict[int, tuple[Path, str]]) -> tuple[Path, str]:
    """The folder a contender reads its model from, and why it cannot. A module is written there only once."""
    if artifact.folder is not None:
        return artifact.folder, ""
    if id(artifact.live) not in written:
        home = folder / f"module{len(written)}"
        home.mkdir()
        written[id(artifact.live)] = home, _write_module(artifact.live, home)
    return written[id(artifact.live)]


def _write_module(module: Any, home: Path) -> str:
    """Writes a module for another process to read. Returns why that failed; empty if it did not."""
    import torch

    try:
        if isinstance(module, torch.jit.ScriptModule):
            torch.jit.save(module, home / SCRIPT)
        else:
            torch.save(module, home / MODULE)
    except Exception as e:  # pickle asks the objects themselves, and they raise anything
        first = (str(e).strip().splitlines() or ["no message"])[0]
        return f"the module cannot be pickled for a process of its own: {type(e).__name__}: {first}"
    return ""


def disk_bytes(job: Job) -> int:
    """The size of the files that a device needs: of a blob, without the IR beside it."""
    folder, needs = Path(job["folder"]), formats.format_of(job["kind"]).on_device
    needed = [folder / name for name in needs] or folder.rglob("*")
    return sum(f.stat().st_size for f in needed if f.is_file())
