"""What separates two runs: a latency's noise and its runtime are part of it."""

import pytest
from fake_sweep import FakeSweep, benchmark, finished

from pipeline.report import differences
from pipeline.runs.folders import read_run


@pytest.mark.parametrize(
    ("second", "says"),
    [
        ({}, ["latency: 8.00 ms → 4.00 ms", "speedup: 3.00× → 6.00×"]),
        ({"tail": 9.0}, ["latency: 8.00 ms → 4.00 ms", "noise of latency: none → p99 9× p50", "speedup: 3.00× → none"]),
        (
            {"by": "onnx"},
            ["latency: 8.00 ms → 4.00 ms", "runtime of latency: openvino → onnxruntime", "speedup: 3.00× → 6.00×"],
        ),
    ],
)
def test_a_latency_is_compared_with_its_noise_and_its_runtime(tmp_path, second, says):
    sweep = FakeSweep(tmp_path / "one")
    for measured in (benchmark(8.0), benchmark(4.0, **second)):
        sweep.job("opset=18").finish(finished("built", "a", "18", 1e-7, size=1, **measured))
    runs = [read_run(sweep.folder / f"{i}-small") for i in range(2)]
    assert [str(c) for c in differences.between(*runs) if c.what == "measured" and c.place != "time"] == says
