"""Runs several command lines of Drydock in one process: python -m benchmarks.coverage_jobs asked.json."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

from pipeline import cli


def main() -> None:
    for line in json.loads(Path(sys.argv[1]).read_text()):
        sys.argv = ["drydock", *line]
        cli.main()
        # What was found out is in run.json; the rest is gigabytes.
        folder = next(found[1] for a in line if (found := re.match(r"hydra\.sweep\.dir=(.*)", a)))
        for rest in (Path(folder) / "store", *Path(folder).glob("*/artifact")):
            shutil.rmtree(rest)


if __name__ == "__main__":
    main()
