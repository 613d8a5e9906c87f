"""planning/ways.py by the command line: alternatives to a failed capture or route are stored and reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Shop

NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(4, 4)

class Sizes(Net):  # a size that depends on a value: only a tracer follows
    def forward(self, input):
        return self.head(input.reshape(-1, int(input.new_ones(4).sum().item())))

class Branch(Net):
    def forward(self, input):
        return self.head(input) if input.sum() > 0 else -self.head(input)

class Fraction(Net):  # no direct rule of OpenVINO's, and one by way of ONNX
    def forward(self, input):
        return torch.frac(self.head(input))

class Hopeless(Net):
    def forward(self, input, **anything):
        if torch.compiler.is_exporting() or torch.jit.is_tracing():
            raise ValueError("not while anybody looks")
        return self.head(input)
"""


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    (tmp_path / "net.py").write_text(NET)
    return Shop(tmp_path)


def converted(shop: Shop, net: str, *overrides: str) -> dict[str, Any]:
    """run.json and the screen of a run."""
    before = set(shop.folder.glob("runs/*/*/run.json"))
    model = ["model=custom", f"model.factory=net.{net}", "model.weights=random", "model.inputs.input.shape=[2,4]"]
    model += ["~model.dims.batch"]
    done = shop.run(*model, *overrides)
    (path,) = set(shop.folder.glob("runs/*/*/run.json")) - before
    return {**json.loads(path.read_text()), "screen": done.stderr, "code": done.returncode}


def capture(run: dict[str, Any]) -> Any:
    return next(s for s in run["stages"] if s["name"] == "capture")["facts"]["capture"]


def test_what_export_cannot_capture_is_traced_the_reason_is_told_and_the_next_run_goes_there_at_once(
    shop: Shop,
) -> None:
    run = converted(shop, "Sizes", "target=onnx")
    assert (run["code"], capture(run), run["choices"]["capture"]) == (0, "trace", "trace")
    assert run["instead"]["changes"] == {"capture": "trace"}
    assert "capture: torch.export cannot capture the model" in run["instead"]["why"][0]
    assert "instead   capture=trace, since capture: torch.export cannot" in run["screen"]
    again = converted(shop, "Sizes", "target=onnx")
    assert {s["how"] for s in again["stages"]} == {"hit", "delivered"}
    assert "trying" not in again["screen"]
    assert again["instead"] == run["instead"]
    assert again["record"] == run["record"]
    planned = converted(shop, "Sizes", "target=onnx", "plan=true")
    assert "instead  capture=trace, since capture" in planned["screen"]
    typed = converted(shop, "Sizes", "target=onnx", "capture=trace")  # the same, but for who chose it
    assert {s["how"] for s in typed["stages"]} == {"hit", "delivered"}
    assert typed["record"] == run["record"]


@pytest.mark.slow  # the branch that a trace fixes: stages/capture/test_paths
def test_a_trace_that_fixed_a_branch_gives_way_to_script(shop: Shop) -> None:
    run = converted(shop, "Branch", "target=onnx")
    assert (run["code"], capture(run)) == (0, "script")
    assert len(run["instead"]["why"]) == 2


@pytest.mark.slow
def test_what_has_no_direct_rule_goes_through_onnx(shop: Shop) -> None:
    run = converted(shop, "Fraction", "target=openvino", "route=auto")
    assert (run["code"], run["instead"]["changes"]) == (0, {"route": "onnx"})
    assert "compile" in run["instead"]["why"][0]


def test_when_none_serves_the_first_is_told_in_full_and_each_other_on_a_line(shop: Shop) -> None:
    run = converted(shop, "Hopeless", "target=onnx")
    assert (run["code"], run["status"]) == (3, "failed")
    first, *others = [p["what"].partition("\n")[0] for p in run["problems"]]
    assert first.startswith("capture: ")
    assert [text.partition(":")[0] for text in others] == ["capture=trace", "capture=script"]
    assert "Traceback" not in run["screen"]


def test_a_capture_that_was_typed_is_the_only_one(shop: Shop) -> None:
    run = converted(shop, "Sizes", "target=onnx", "capture=export")
    assert (run["code"], run["status"]) == (3, "failed")
    assert "trying" not in run["screen"]
