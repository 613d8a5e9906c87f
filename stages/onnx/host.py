"""Checks a model on the device that it was delivered to, against the recorded outputs of the original.

    python selfcheck.py                        with the settings of its check before delivery
    python selfcheck.py --compute default      with the runtime's default precision, as an application without settings
    python selfcheck.py --runs 200 --threads 2

It needs Python 3.10 or later, numpy and onnxruntime. It reads artifact.json and reference.npz beside itself.
Exit codes: 0 it agrees, 2 wrong usage, 3 it cannot run, 4 the runtime or numpy is not installed, 5 it does not agree.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.portable.handed_over import CANNOT_RUN, Stop
from stages.portable.selfcheck import Running, Runtime, main


def _load(
    onnxruntime: Any, path: Path, record: Mapping[str, Any], claim: Mapping[str, Any], arguments: argparse.Namespace
) -> Running:
    device = arguments.device or "CPU"
    providers = {p.removesuffix("ExecutionProvider").upper(): p for p in onnxruntime.get_available_providers()}
    if device.upper() not in providers:
        raise Stop(CANNOT_RUN, f"this onnxruntime does not run on {device}\n  it does on: {', '.join(providers)}")
    provider = providers[device.upper()]
    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    if arguments.threads:
        options.intra_op_num_threads, options.inter_op_num_threads = arguments.threads, 1
    if arguments.extension:
        options.register_custom_ops_library(str(arguments.extension))
    # Version 1.31.1 ends its process by a segmentation fault on ViTs in float16, unless this optimizer is off.
    disabled = ["NchwcTransformer"] if record["precision"]["storage"] == "float16" else []
    session = onnxruntime.InferenceSession(path, options, providers=[provider], disabled_optimizers=disabled)
    if session.get_providers()[0] != provider:  # it falls back to the CPU without a word
        raise Stop(CANNOT_RUN, f"onnxruntime cannot use {device} here, and would run on the CPU instead")
    names = [o.name for o in session.get_outputs()]
    return Running(
        lambda inputs: dict(zip(names, session.run(names, inputs), strict=True)),
        lambda inputs: lambda: session.run(names, inputs),
        claim["compute"],  # the types are the graph's own, and its file is the one that was checked
        f"onnxruntime {onnxruntime.__version__} on {device}",
    )


RUNTIME = Runtime("onnxruntime", {"onnx": ".onnx"}, _load)

if __name__ == "__main__":
    sys.exit(main(RUNTIME, str(__doc__), Path(__file__).parent))
