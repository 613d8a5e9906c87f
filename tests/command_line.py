"""The command line, run as a person would run it: in a folder of their own, with a store of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SHOP = Path(__file__).parent / "shop"
FILES = Path(__file__).parent / "files"  # small files of other frameworks; see its README
MODEL = (
    "model=custom",
    "model.factory=net.Net",
    "model.weights=net.pth",
    "model.inputs.input.shape=[batch,3,16,16]",
)


class Shop:
    """A user's folder with a model in it, a store of its own, and a way to run the pipeline there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store"

    def start(self, *args: str, code: str = "-m pipeline") -> subprocess.Popen[str]:
        own = [] if any(a.startswith("store=") for a in args) else [f"store={self.store}"]
        command = [sys.executable, *code.split(), *args, *own]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.folder, stdout=pipe, stderr=pipe, text=True)

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*args)
        out, err = process.communicate(timeout=900)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def converted(self, *args: str) -> dict[str, object]:
        """run.json of a run that must succeed."""
        done = self.run(*MODEL, *args)
        assert done.returncode == 0, done.stderr
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("record ")]
        record = json.loads(Path(line.split(maxsplit=1)[1]).read_text())
        assert isinstance(record, dict)
        return record
