"""Checks delivered files where only the modules of a device can be imported."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from harness import run_stage, tolerance

from pipeline.artifact import Artifact
from stages.checking.check import Check


def recorded(artifact: Artifact, reference: Artifact, folder: Path, *, precision="fp32", compute="float32") -> Artifact:
    """An artifact that passed its check, with the record that the runner sets."""
    stage = Check(compute, {}, [], tolerance(precision), False)
    claims = run_stage(stage, {"artifact": artifact, "reference": reference}, folder / "check").notes["claims"]
    record = {"model": "net", "drydock": "0.1.0", "kind": str(artifact.kind), "facts": dict(artifact.facts)}
    record |= {"precision": {"name": precision, "storage": compute, "compute": compute}}
    return replace(
        artifact, record={**record, "checks": [{"stage": "check", "of": "compile", "delivered": True, **claims}]}
    )


def signed(folder: Path) -> None:
    """Writes the present digests of the files, as a delivery does."""
    files = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.name != "artifact.json"}
    document = json.loads((folder / "artifact.json").read_text())
    (folder / "artifact.json").write_text(json.dumps({**document, "files": sorted(files), "sha256": files}))


def device(folder: Path, *modules: str) -> Path:
    """A folder to import from that has only these modules and their own dependencies."""
    folder.mkdir(exist_ok=True)
    for module in modules:
        spec = importlib.util.find_spec(module)
        for path in Path(spec.origin).parents[1].glob(f"{module}*"):
            if path.name in (module, f"{module}.libs"):
                (folder / path.name).symlink_to(path)
    return folder


def python(place: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs code where only the standard library and the modules of a folder can be imported."""
    start = f"import sys; sys.path.insert(0, {str(place)!r}); {code}"
    command = [sys.executable, "-I", "-S", "-c", start, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=place.parent, timeout=100)


def flip(path: Path) -> None:
    """Changes the lowest bit of one byte in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def change_answer(path: Path) -> None:
    """Changes one number of one answer by a tenth."""
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["odd/out/logits"][2, 7] += 0.1
    np.savez(path, **arrays)
