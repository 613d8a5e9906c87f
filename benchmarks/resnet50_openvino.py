"""ResNet-50 to OpenVINO: cold and warm, against a hand-written script and a bare Hydra app measured in turn with them.

make bench              three rounds
python -m benchmarks.resnet50_openvino --rounds 5
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from benchmarks import verdict
from benchmarks.process import Measured, measure, median

ROOT = Path(__file__).resolve().parent.parent
# What we hold ourselves to, on the medians.
COLD_SECONDS, QUICK_SECONDS, COLD_MEMORY, WARM_SECONDS, WARM_OF_BARE = 1.25, 1.10, 1.25, 1.0, 2.5


def one_round(folder: Path) -> dict[str, Measured]:
    """Each program once, in turn, so that a machine that slows down slows all of them."""
    ours = [sys.executable, "-m", "pipeline", "model=resnet50", "target=openvino", "model.weights=random"]
    with_store = [*ours, f"store={folder / 'store'}"]
    quick = [*ours, f"store={folder / 'quick'}", "effort=quick"]
    return {
        "hand-written": measure([sys.executable, "-m", "benchmarks.handwritten", str(folder)], folder),
        "cold": measure(with_store, folder),
        "cold, quick": measure(quick, folder),
        "bare Hydra": measure([sys.executable, "-m", "benchmarks.bare_hydra"], folder),
        "warm": measure(with_store, folder),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    os.environ["PYTHONPATH"] = str(ROOT)
    by_way: dict[str, list[Measured]] = {}
    for number in range(rounds + 1):  # the first warms the machine's file cache and is not counted
        with tempfile.TemporaryDirectory() as folder:
            for name, one in one_round(Path(folder)).items():
                print(f"round {number}  {name:<13} {one.seconds:6.2f} s  {one.peak_bytes / 2**20:7.0f} MiB", flush=True)
                by_way.setdefault(name, []).extend([one] if number else [])
    middle = {name: median(runs) for name, runs in by_way.items()}
    rows = [
        ("cold / hand-written, wall", middle["cold"].seconds / middle["hand-written"].seconds, COLD_SECONDS),
        (
            "cold / hand-written, effort=quick",
            middle["cold, quick"].seconds / middle["hand-written"].seconds,
            QUICK_SECONDS,
        ),
        ("cold / hand-written, memory", middle["cold"].peak_bytes / middle["hand-written"].peak_bytes, COLD_MEMORY),
        ("warm / bare Hydra, wall", middle["warm"].seconds / middle["bare Hydra"].seconds, WARM_OF_BARE),
        ("warm, seconds", middle["warm"].seconds, WARM_SECONDS),
        ("warm / cold, wall", middle["warm"].seconds / middle["cold"].seconds),
    ]
    print(f"\nmedians of {rounds} rounds")
    for row in rows:
        print(verdict.line(*row))


if __name__ == "__main__":
    main()
