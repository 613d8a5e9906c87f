"""What a folder of ours goes on with in onnxruntime-genai, and how fast; a process of its own for each task.

python -m benchmarks.generation_ours tokens RUN ASKED     RUN: the folder that a run worked in, its delivery in out/
python -m benchmarks.generation_ours speed RUN PROMPT NEW
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from stages.onnx.generation import host


def opened(run: Path) -> Any:
    """The delivered folder in its runtime."""
    stages = json.loads((run / "run" / "run.json").read_text())["stages"]
    facts = next(s["facts"]["generation"] for s in reversed(stages) if "generation" in s.get("facts", {}))
    (graph,) = run.glob("out/**/model.onnx")
    return host.load(graph.parent, facts)


def main() -> None:
    what, folder, *more = sys.argv[1:]
    running = opened(Path(folder))
    if what == "tokens":
        record = json.loads(Path(more[0]).read_text())
        print(json.dumps([running(batch, record["new"]) for batch in record["batches"]]))
        return
    prompt, new = map(int, more)
    rows = [list(range(3, 3 + prompt))]
    running(rows, 2)
    began = time.perf_counter()
    running(rows, 1)
    first = time.perf_counter() - began
    running(rows, new)
    rest = time.perf_counter() - began - 2 * first
    print(json.dumps([first, *[rest / (new - 1)] * (new - 1)]))


if __name__ == "__main__":
    main()
