"""A store of many results, each with its entry, and how long `list` and `size` take there."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path

from benchmarks.process import measure
from pipeline.store import key as keys
from pipeline.store import mark, use

WITH_INDEX, WITHOUT = 2.0, 60.0  # seconds that each command may take
STAGES = ("capture_by_opset", "export_by_opset", "simplify", "compile_openvino", "quantize", "check")
FACTS = {
    "source": {"factory": "torchvision.models.resnet50", "bytes": 102_000_000},
    "interface": {"dims": ["batch"] * 40},
}


def measured(home: Path, count: int) -> bool:
    """Makes the store, measures each command, prints the figures, and says whether they are within the bounds."""
    store = home / "store"
    began = time.perf_counter()
    make(store, count)
    print(f"{count} results with an entry each, made in {time.perf_counter() - began:.0f} s")
    holds = True
    for what, options, bound in (
        ("without an index", ["--no-index"], WITHOUT),
        ("for the first time", [], WITHOUT),
        ("with the index", [], WITH_INDEX),
    ):
        for name in ("list", "size"):
            taken = measure([sys.executable, "-m", "pipeline.store", name, "--store", str(store), *options], home)
            within = taken.seconds <= bound
            holds = holds and within
            line = f"{name:<5} {what:<19} {taken.seconds:6.2f} s   {taken.peak_bytes / 2**20:5.0f} MiB"
            print(f"{line}   bound {bound:.0f} s: {'held' if within else 'NOT HELD'}", flush=True)
    return holds


def make(store: Path, count: int) -> None:
    """A store as runs would have left it, but for waiting for the disk and for what the results hold."""
    store.mkdir()
    (store / mark.FILE).write_text(json.dumps(mark.FORMAT))
    for name in ("staging", "facts", "marks", "locks", "seen", use.PLACE, *(f"actions/{s}" for s in STAGES)):
        (store / name).mkdir(parents=True)
    for n in range(256):
        (store / "objects" / f"{n:02x}").mkdir(parents=True)
    facts = json.dumps({"kind": "onnx", "facts": FACTS}, indent=1, sort_keys=True)
    for n in range(count):
        stage = STAGES[n % len(STAGES)]
        digest = hashlib.sha256(b"content %d" % n).hexdigest()
        folder = store / "objects" / digest[:2] / digest
        folder.mkdir()
        files = {"artifact.json": facts, "model.onnx": "g" * 300, "model.onnx.data": "w" * 1000}
        for name, content in files.items():
            (folder / name).write_text(content)
        manifest = [{"path": name, "size": len(text), "sha256": "0" * 64} for name, text in files.items()]
        folder.with_name(f"{digest}.json").write_text(json.dumps(manifest, indent=1))
        (store / use.PLACE / digest).write_text(f"resnet{n % 50}\topenvino\n")
        (store / "seen" / f"{digest}.json").write_text("{}")
        document = keys.document(
            stage=stage, contract=1, code={}, settings={f"setting{i}": i + n for i in range(20)},
            inputs={"model": digest}, libraries={"onnx": "1.23.2"},
        )  # fmt: skip
        key = keys.digest(document)
        entry = {"key": key, "key_document": document, "digest": digest, "kind": "onnx", "seconds": 1.0}
        entry |= {"notes": {"says": "122 nodes"}, "sources": {f"stages/file{i}.py": "0" * 64 for i in range(10)}}
        (store / "actions" / stage / f"{key}.json").write_text(json.dumps(entry, indent=1))
    os.sync()
    time.sleep(3)  # until the folders' times are settled
