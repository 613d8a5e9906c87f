"""A model of 2.25 GiB from PyTorch to a checked ONNX graph: time, memory and bytes written, as shares of its weights.

make bench-large
python -m benchmarks.large_model --keep FOLDER      leaves the store and the delivery there

A cold run of target=onnx, a warm one, and the simplification proper of the graph that the cold run exported. A file
counts as written when it is in the store, the run's folder or the delivery at the end, each inode once; what the kernel
says the process wrote is printed beside it, and counts what was removed again too.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import verdict
from benchmarks.process import Measured, measure

HERE = Path(__file__).resolve().parent
# What we hold ourselves to: simplification in seconds, memory and bytes as multiples of the weights.
SIMPLIFY_SECONDS, MEMORY, WRITTEN = 1.0, 1.4, 2.05


def run(folder: Path, *more: str) -> Measured:
    """One run of the pipeline in a folder of its own, its store there too."""
    command = [sys.executable, "-m", "pipeline", "model=large", "target=onnx", "store=store", "output=out"]
    return measure([*command, "hydra.run.dir=run", *more], folder)


def written(folder: Path) -> int:
    """Bytes of all files below a folder; one with two names counts once."""
    return sum({s.st_ino: s.st_size for s in (p.lstat() for p in folder.rglob("*") if p.is_file())}.values())


def stages(folder: Path) -> Mapping[str, Mapping[str, Any]]:
    """What run.json says of each stage."""
    return {s["name"]: s for s in json.loads((folder / "run" / "run.json").read_text())["stages"]}


def by_stage(folder: Path, weights: int) -> str:
    """Seconds of each stage and its peak memory as a multiple of the weights, a line each."""
    lines = []
    for name, stage in stages(folder).items():
        memory, says = (stage["peak_bytes"] or 0) / weights, stage["notes"].get("says", "")
        lines.append(f"  {name:<16} {stage['seconds']:6.1f} s  {memory:5.2f}x memory  {says}")
    return "\n".join(lines)


def simplification(graph: Path, folder: Path, *, bare: bool) -> dict[str, float]:
    """Seconds, imports not counted, and peak memory of simplifying a graph in a process of its own.

    Args:
        graph: The graph's file.
        folder: To work in.
        bare: Whether as our stage does, without the large weights, or by onnxsim alone.
    """
    path = folder / "told.json"
    measure([sys.executable, "-m", "benchmarks.large_simplify", str(graph), str(path), "bare" * bare], folder)
    return dict(json.loads(path.read_text()))


def report(folder: Path, *, alone: bool) -> bool:
    """Runs and prints everything. Returns whether all targets were held."""
    cold = run(folder)
    weights = stages(folder)["load"]["facts"]["source"]["bytes"]
    total = written(folder)
    steps = stages(folder)
    ratio = cold.written_bytes / weights
    print(f"weights {weights / 2**30:.2f} GiB; cold {cold.seconds:.0f} s; {ratio:.2f}x written by the kernel's count")
    print(by_stage(folder, weights))
    exported, simpler = steps["export"]["digest"], steps["simplify"]["digest"]
    graph = folder / "store" / "objects" / exported[:2] / exported / "model.onnx"
    ours = simplification(graph, folder, bare=True)
    warm = run(folder)
    print(f"warm {warm.seconds:.1f} s, {sum(s['how'] == 'built' for s in stages(folder).values())} stages built")
    if alone:
        theirs = simplification(graph, folder, bare=False)
        print(f"onnxsim with the weights: {theirs['seconds']:.1f} s, {theirs['peak_bytes'] / weights:.2f}x memory")
    changed = simpler != exported
    rows = [
        ("simplification, seconds", ours["seconds"], SIMPLIFY_SECONDS),
        ("memory / weights", cold.peak_bytes / weights, MEMORY),
        ("written / weights", total / weights, WRITTEN),
    ]
    for name, value, bound in rows:
        print(verdict.line(name, value, bound))
    print(f"the simplified graph was {'kept' if changed else 'NOT KEPT'}")
    return changed and all(value <= bound for _, value, bound in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="a new folder to work in, which stays; about 5 GiB")
    parser.add_argument("--alone", action="store_true", help="onnxsim with the weights too: minutes more")
    arguments = parser.parse_args()
    os.environ |= {"PYTHONPATH": str(HERE.parent), "DRYDOCK_CONF": str(HERE / "large")}
    if arguments.keep:
        arguments.keep.mkdir()
        in_bounds = report(arguments.keep.absolute(), alone=arguments.alone)
    else:
        with tempfile.TemporaryDirectory() as folder:
            in_bounds = report(Path(folder), alone=arguments.alone)
    sys.exit(0 if in_bounds else 1)


if __name__ == "__main__":
    main()
