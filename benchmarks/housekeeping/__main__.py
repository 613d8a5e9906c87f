"""How long 100,000 entries take to list, and whether eviction under load harms anybody.

make bench-store                                          both: about 15 minutes
python -m benchmarks.housekeeping --entries 100000 --minutes 0
python -m benchmarks.housekeeping --entries 0 --minutes 10 --seed 7
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.chaos import scenes
from benchmarks.housekeeping import many, pressure


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=100_000, help="results of the store that is listed; 0 for none")
    parser.add_argument("--minutes", type=float, default=10.0, help="of eviction under load; 0 for none")
    parser.add_argument("--seed", type=int, default=0, help="of which runs come when, and who is killed")
    args = parser.parse_args()
    if sys.platform != "linux":
        print("only Linux's processes are ended and waited for as this needs it: nothing was run")
        return 2
    holds = True
    if args.entries:
        with tempfile.TemporaryDirectory(prefix="drydock-many-") as folder:
            holds = many.measured(Path(folder), args.entries)
    if args.minutes:
        with tempfile.TemporaryDirectory(prefix="drydock-pressure-", dir=scenes.SCRATCH) as folder:
            holds = pressure.is_right(Path(folder), args.minutes, args.seed) and holds
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
