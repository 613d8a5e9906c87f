"""The share of a cold run that its reference and its checks take."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
OVERRIDES = ("model=resnet50", "model.weights=random", "target=openvino")


def share() -> dict[str, float]:
    """Seconds of ResNet-50 to OpenVINO with an empty store: of the whole process, of the reference, of the checks."""
    with tempfile.TemporaryDirectory() as folder:
        where = (f"store={folder}/store", f"hydra.run.dir={folder}/run")
        began = time.perf_counter()
        command = [sys.executable, "-m", "pipeline", *OVERRIDES, *where]
        ended = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        whole = time.perf_counter() - began
        if ended.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stderr}")
        stages = json.loads((Path(folder) / "run" / "run.json").read_text())["stages"]
    took = {s["name"]: float(s["seconds"]) for s in stages}
    checks = sum(seconds for name, seconds in took.items() if name.startswith("check"))
    return {"whole": whole, "reference": took["reference"], "checks": checks}
