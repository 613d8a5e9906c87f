"""A sweep of three opsets and three precisions, against nine scripts and nine separate runs, and what 200 jobs cost.

make bench-sweep        about ten minutes
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks import verdict
from benchmarks.process import measure

ROOT = Path(__file__).resolve().parent.parent
OPSETS, PRECISIONS = ("18", "19", "20"), ("fp32", "fp16", "int8")
MODEL = ("model=resnet50", "model.weights=random", "target=openvino")
# What we hold ourselves to: a sweep's share of the scripts' time, and seconds beside stage work in each of many jobs.
OF_SCRIPTS, OVERHEAD = 1 / 4, 0.3
JOBS = 200
TINY = """import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(8, 8)

    def forward(self, x):
        return self.layer(x)
"""
CUSTOM = ("model=custom", "model.factory=tiny.Net", "model.weights=random", "model.inputs.input.shape=[batch,8]")


def jobs_of(folder: Path) -> list[dict[str, object]]:
    """run.json of each job of the only sweep in a folder."""
    return [json.loads(p.read_text()) for p in sorted(folder.glob("sweep/*/run.json"))]


def shared(folder: Path) -> float:
    """Seconds of the sweep of nine; prints how often each stage was built."""
    command = [sys.executable, "-m", "pipeline", "-m", *MODEL, f"opset={','.join(OPSETS)}"]
    command += [f"precision={','.join(PRECISIONS)}", f"store={folder / 'store'}", f"hydra.sweep.dir={folder / 'sweep'}"]
    seconds = measure(command, folder).seconds
    stages = [s for job in jobs_of(folder) for s in job["stages"]]  # type: ignore[attr-defined]
    built = Counter(s["name"] for s in stages if s["how"] == "built")
    print(f"built in the sweep: {', '.join(f'{name} {count}' for name, count in built.items())}", flush=True)
    return seconds


def scripts(folder: Path) -> float:
    """Seconds of nine hand-written scripts, one after the other."""
    cells = [(o, p) for o in OPSETS for p in PRECISIONS]
    return sum(
        measure([sys.executable, "-m", "benchmarks.handwritten", str(folder), *cell], folder).seconds for cell in cells
    )


def separate(folder: Path) -> float:
    """Seconds of the same cells as nine commands, each with a store of its own."""
    total = 0.0
    for opset in OPSETS:
        for precision in PRECISIONS:
            store = folder / f"store-{opset}-{precision}"
            ours = [sys.executable, "-m", "pipeline", *MODEL, f"opset={opset}", f"precision={precision}"]
            total += measure([*ours, f"store={store}"], folder).seconds
    return total


def overhead(folder: Path) -> float:
    """Seconds beside stage work in each of many jobs of a tiny model, in one process; that of starting it left out."""
    (folder / "tiny.py").write_text(TINY)
    command = [sys.executable, "-m", "pipeline", "-m", *CUSTOM, "target=onnx", f"store={folder / 'store'}"]
    command += [f"hydra.sweep.dir={folder / 'sweep'}"]
    one = measure([*command, "seed=0"], folder).seconds
    seconds = measure([*command, f"seed=range(1,{JOBS + 1})", f"hydra.sweep.dir={folder / 'many' / 'sweep'}"], folder)
    stages = [s for job in jobs_of(folder / "many") for s in job["stages"]]  # type: ignore[attr-defined]
    work = sum(s["seconds"] for s in stages if s["how"] != "hit")
    print(f"{JOBS} jobs: {seconds.seconds:.1f} s, of which {work:.1f} s stage work; one alone {one:.1f} s", flush=True)
    return (seconds.seconds - work) / JOBS


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    os.environ["PYTHONPATH"] = str(ROOT)
    by_way = {}
    for name, program in (("sweep", shared), ("scripts", scripts), ("separate", separate), ("overhead", overhead)):
        with tempfile.TemporaryDirectory() as folder:
            by_way[name] = program(Path(folder))
        print(f"{name:<10} {by_way[name]:7.2f} s", flush=True)
    print()
    print(verdict.line("sweep / nine scripts, wall", by_way["sweep"] / by_way["scripts"], OF_SCRIPTS))
    print(verdict.line("sweep / nine commands of ours, wall", by_way["sweep"] / by_way["separate"]))
    print(verdict.line(f"beside stage work, seconds a job of {JOBS}", by_way["overhead"], OVERHEAD))


if __name__ == "__main__":
    main()
