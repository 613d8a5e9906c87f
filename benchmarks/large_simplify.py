"""Simplifies one graph in a process of its own: python -m benchmarks.large_simplify GRAPH RESULT [bare]

With `bare` as the stage does it, without the large weights; otherwise by onnxsim alone, with all of them.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import onnxsim  # its import takes longer than its work, and is not what is measured

from benchmarks.process import MAXRSS_UNIT
from stages.onnx import file as onnx_file
from stages.onnx.simplify import simplified


def main(graph: Path, result: Path, *, bare: bool) -> None:
    began = time.perf_counter()
    model = onnx_file.read(graph, weights=not bare)
    simpler = simplified(model, bare=True) if bare else onnxsim.simplify(model, check_n=0)[0]
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT
    result.write_text(json.dumps({"seconds": seconds, "peak_bytes": peak, "nodes": len(simpler.graph.node)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), bare="bare" in sys.argv[3:])
