"""ResNet-50 on OpenVINO: our benchmark stage against benchmark_app, and IR against doing without it.

make bench-openvino         five rounds, about four minutes
python -m benchmarks.openvino --rounds 9

Three things, each measured in turn with what it is compared with:
  the latency that the stage reports, against OpenVINO's own benchmark_app on the same file and settings;
  a program's first answer from IR, against one that converts the module each time it starts;
  the IR's latency against torch.compile(backend="openvino") and eager PyTorch, which the stage measures itself.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import verdict
from benchmarks.process import measure
from benchmarks.resnet50_openvino import ROOT

# How far the stage's median may be from benchmark_app's, as a share.
AGREEMENT = 0.10
SECONDS = 3  # of inference in each measurement
THREADS = len(os.sched_getaffinity(0))
IR = "artifact/resnet50.xml"


def ours(folder: Path, number: int, *beside: str) -> Mapping[str, Any]:
    """What the stage reports of a run: its contenders' figures by name."""
    command = [sys.executable, "-m", "pipeline", "model=resnet50", "target=openvino", "model.weights=random"]
    command += [f"store={folder / 'store'}", f"output={folder / 'artifact'}", f"hydra.run.dir={folder / 'run'}"]
    command += ["also=benchmark", f"stages.benchmark.again={number}", f"stages.benchmark.threads={THREADS}"]
    command += [f"stages.benchmark.rounds={SECONDS}", f"stages.benchmark.against=[{','.join(beside)}]"]
    measure(command, folder)
    stages = json.loads((folder / "run" / "run.json").read_text())["stages"]
    (notes,) = (stage["notes"]["benchmark"] for stage in stages if stage["name"] == "benchmark")
    return dict(notes["contenders"])


def theirs(folder: Path) -> float:
    """benchmark_app's median latency in milliseconds, with the settings that the stage pins."""
    # It refuses streams and threads beside a hint. Its inputs are set once, as the stage's are.
    settings = f"-d CPU -api sync -hint none -nstreams 1 -nthreads {THREADS} -infer_precision f32 -t {SECONDS}"
    settings += " -data_shape input[2,3,224,224] -inference_only true -report_type no_counters -json_stats"
    app = str(Path(sys.executable).with_name("benchmark_app"))
    measure([app, "-m", str(folder / IR), *settings.split(), "-report_folder", str(folder)], folder)
    report = json.loads((folder / "benchmark_report.json").read_text())
    return float(report["execution_results"]["latency (ms)"])


def weights(folder: Path) -> Path:
    """A checkpoint for the program that converts each time."""
    import torch
    import torchvision

    path = folder / "resnet50.pth"
    torch.save(torchvision.models.resnet50(weights=None).state_dict(), path)
    return path


def first_answers(folder: Path, checkpoint: Path) -> dict[str, float]:
    """Seconds of whole programs, in turn."""
    program = [sys.executable, "-m", "benchmarks.first_inference"]
    return {
        "from IR": measure([*program, "ir", str(folder / IR)], folder).seconds,
        "converting": measure([*program, "convert", str(checkpoint)], folder).seconds,
    }


def one_round(folder: Path, number: int, checkpoint: Path) -> dict[str, float]:
    latencies = {"stage": ours(folder, number)["openvino"]["p50_ms"], "benchmark_app": theirs(folder)}
    latencies |= first_answers(folder, checkpoint)
    units = {"stage": "ms", "benchmark_app": "ms"}
    print(f"round {number}  " + "  ".join(f"{n} {v:.2f} {units.get(n, 's')}" for n, v in latencies.items()), flush=True)
    return latencies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    os.environ["PYTHONPATH"] = str(ROOT)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        beside = ours(folder, 0, "eager", "torch_compile")  # converts, and warms the machine's file cache
        checkpoint = weights(folder)
        results = [one_round(folder, number, checkpoint) for number in range(1, rounds + 1)]
    middle = {name: statistics.median(one[name] for one in results) for name in results[0]}
    ratio = middle["stage"] / middle["benchmark_app"]
    print(f"\nmedians of {rounds} rounds, {THREADS} threads: " + ", ".join(f"{n} {v:.2f}" for n, v in middle.items()))
    print(verdict.line("stage / benchmark_app, latency", ratio))
    print(verdict.line("  how far from 1", abs(ratio - 1), AGREEMENT))
    print(verdict.line("first answer, converting / from IR", middle["converting"] / middle["from IR"]))
    for other in ("torch_compile", "eager"):
        print(verdict.line(f"{other} / IR, latency", beside[other]["p50_ms"] / beside["openvino"]["p50_ms"]))
        first = beside[other]["to_first_answer_ms"] / beside["openvino"]["to_first_answer_ms"]
        print(verdict.line(f"{other} / IR, first answer", first))
    if noisy := [f"{name} {figures['spread']:.0%}" for name, figures in beside.items() if figures["noisy"]]:
        print(f"NOISY: blocks differ: {', '.join(noisy)}")


if __name__ == "__main__":
    main()
