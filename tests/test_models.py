"""Models of every form through every capture, and every opset, each as a sweep of the command line."""

from __future__ import annotations

import functools
import itertools
import json
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import onnx
import pytest
from command_line import MODEL, SHOP, Shop
from harness import backend

# By model of tests/shop/conf/model: the inputs and outputs of its ONNX graph, whatever the capture.
PORTS: dict[str, tuple[dict[str, list[Any]], dict[str, list[Any]]]] = {
    "bert": (
        {name: ["batch", "sequence"] for name in ("input_ids", "attention_mask", "token_type_ids")},
        {"logits": ["batch", 3]},
    ),
    "two": (
        {"image": ["batch", 3, "height", 16], "gain": ["batch", 3]},
        {"features": ["batch", 4, "height", 16]},
    ),
    "mapping": (
        {"ids": ["batch", "length"], "mask": ["batch", "length"]},
        {"scores_raw": ["batch", 5], "hidden_tokens": ["batch", "length", 8], "hidden_mean": ["batch", 8]},
    ),
    "pair": (
        {"query": ["batch", "rows", 6], "key": ["batch", "columns", 6]},
        {"weights": ["batch", "rows", "columns"], "match": ["batch", "rows", "columns"]},
    ),
}
REFUSED = {("bert", "script"): "capture: torch.jit.script cannot compile the model"}

# One model by half of the captures; the others in the slow suite.
HALVES = [
    (("pair",), ("export", "trace"), ()),
    (("mapping",), ("export", "trace"), pytest.mark.slow),
    (("mapping", "pair"), ("script", "auto"), pytest.mark.slow),
    (("bert", "two"), ("export", "script"), pytest.mark.slow),
    (("bert", "two"), ("trace", "auto"), pytest.mark.slow),
]
BY_CAPTURE = [pytest.param(m, c, marks=marks) for ms, cs, marks in HALVES for m in ms for c in cs]

OPSETS = (9, 17, 18, 23)  # and more by themselves in stages/onnx
BELOW_DYNAMO = {(opset, "export") for opset in OPSETS if opset < 18}


class Sweep:
    """A finished sweep.

    Args:
        done: The process.
        records: run.json of each job, by what is swept, such as ("two", "trace").
        failed: The exit code of each that failed, likewise.
    """

    def __init__(self, shop: Shop, over: list[str], *args: str) -> None:
        self.done: subprocess.CompletedProcess[str] = shop.run("-m", *args)
        records = [json.loads(p.read_text()) for p in shop.folder.glob("sweeps/*/*/*/run.json")]
        self.records = {self._swept(r["overrides"], over): r for r in records}
        self.failed = {cell: r["exit_code"] for cell, r in self.records.items() if r["status"] == "failed"}

    def _swept(self, overrides: list[str], over: list[str]) -> tuple[str, ...]:
        choices = dict(o.split("=", 1) for o in overrides if "=" in o)
        return tuple(choices[key] for key in over)


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Sweep]:
    """The sweep of HALVES that a model by a capture is in; each is made once."""

    @functools.cache
    def sweep(models: tuple[str, ...], captures: tuple[str, ...]) -> Sweep:
        folder = tmp_path_factory.mktemp("forms") / "shop"
        shutil.copytree(SHOP, folder, ignore=shutil.ignore_patterns("__pycache__"))
        over = [f"model={','.join(models)}", f"capture={','.join(captures)}"]
        return Sweep(Shop(folder), ["model", "capture"], *over, "target=onnx")

    return lambda model, capture: next(sweep(ms, cs) for ms, cs, _ in HALVES if model in ms and capture in cs)


def shapes(ports: Any) -> dict[str, list[Any]]:
    return {p.name: [d.dim_param or d.dim_value for d in p.type.tensor_type.shape.dim] for p in ports}


@pytest.mark.parametrize(("model", "capture"), [p for p in BY_CAPTURE if p.values not in REFUSED])
def test_a_model_has_the_same_interface_by_whatever_capture(
    forms: Callable[[str, str], Sweep], model: str, capture: str
) -> None:
    record = forms(model, capture).records[model, capture]
    assert record["status"] == "ok", record["problems"]
    graph = onnx.load(record["artifact"]).graph
    for ports, expected in zip((graph.input, graph.output), PORTS[model], strict=True):
        assert list(shapes(ports).items()) == list(expected.items())
    (check,) = [s for s in record["stages"] if s["name"] == "check_simplify"]
    labels = [c["label"] for c in check["notes"]["parity"]["cases"]]
    assert labels[:4] == ["example", "min", "odd", "max"]
    assert "draw 2" in labels


@pytest.mark.parametrize(("model", "capture"), [p for p in BY_CAPTURE if p.values[1] == "auto"])
def test_auto_is_served_by_export_where_that_can(forms: Callable[[str, str], Sweep], model: str, capture: str) -> None:
    record = forms(model, capture).records[model, capture]
    (capture_record,) = [s for s in record["stages"] if s["name"] == "capture"]
    assert "instead" not in record
    assert capture_record["facts"]["capture"] == "export"


@pytest.mark.slow
@pytest.mark.parametrize(("model", "capture"), REFUSED)
def test_what_a_capture_cannot_compile_fails_with_its_reason_and_another_way(
    forms: Callable[[str, str], Sweep], model: str, capture: str
) -> None:
    record = forms(model, capture).records[model, capture]
    (problem,) = record["problems"]
    assert (record["status"], record["exit_code"]) == ("failed", 3)
    assert problem["what"].startswith(REFUSED[model, capture])
    assert problem["command"] == "capture=export or capture=trace"


@pytest.mark.slow
def test_only_what_is_refused_fails_in_the_sweep(forms: Callable[[str, str], Sweep]) -> None:
    (refused,) = REFUSED
    assert forms(*refused).failed == {refused: 3}
    assert forms(*refused).done.returncode == 6


@pytest.fixture(scope="module")
def opsets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sweep, dict[tuple[str, ...], int]]:
    """A small model at every opset by both exporters, and what the delivered files declare."""
    folder = tmp_path_factory.mktemp("opsets")
    shutil.copy(SHOP / "net.py", folder)
    over = [f"opset={','.join(map(str, OPSETS))}", "capture=export,trace"]
    sweep = Sweep(Shop(folder), ["opset", "capture"], *MODEL, "model.weights=random", "target=onnx", *over)
    delivered = {cell: r["artifact"] for cell, r in sweep.records.items() if r["status"] == "ok"}
    declared = {cell: onnx.load(path).opset_import[0].version for cell, path in delivered.items()}
    return sweep, declared


@pytest.mark.slow  # stages/onnx has the opsets of a graph, stages/capture what is refused
@pytest.mark.parametrize(("opset", "capture"), itertools.product(OPSETS, ("export", "trace")))
def test_a_delivered_graph_has_the_opset_or_nothing_is_begun(
    opsets: tuple[Sweep, dict[tuple[str, ...], int]], opset: int, capture: str
) -> None:
    sweep, declared = opsets
    cell = (str(opset), capture)
    if (opset, capture) in BELOW_DYNAMO:
        assert sweep.failed[cell] == 2
        assert (sweep.records[cell]["stage"], sweep.records[cell]["stages"]) == (None, [])  # before any work
    else:
        assert declared[cell] == opset


@pytest.mark.slow
def test_what_is_refused_names_the_capture_that_serves_the_opset(
    opsets: tuple[Sweep, dict[tuple[str, ...], int]],
) -> None:
    for opset in sorted({o for o, _ in BELOW_DYNAMO}):
        assert f"try:     opset={opset} capture=trace" in opsets[0].done.stderr


# By model of tests/shop/conf/model: the inputs and outputs of its IR, whatever the route and the capture.
IR_PORTS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "resnet": ({"input": "[1..8,3,64,64]"}, {"logits": "[1..8,1000]"}),
    "vit": ({"input": "[1..8,3,32,32]"}, {"logits": "[1..8,1000]"}),
    "segmentation": ({"input": "[1..4,3,64,96]"}, {"masks": "[1..4,21,64,96]"}),
    "bert": (
        dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), "[1..4,4..32]"),
        {"logits": "[?,3]"},  # its shape inference loses the bounds
    ),
    "two": ({"image": "[1..4,3,8..24,16]", "gain": "[1..4,3]"}, {"features": "[1..4,4,8..24,16]"}),
    "mapping": (
        {"ids": "[1..4,2..12]", "mask": "[1..4,2..12]"},
        {"scores_raw": "[1..4,5]", "hidden_tokens": "[1..4,2..12,8]", "hidden_mean": "[1..4,8]"},
    ),
    "pair": (
        {"query": "[1..4,2..8,6]", "key": "[1..4,2..8,6]"},
        {"weights": "[1..4,2..8,2..8]", "match": "[1..4,2..8,2..8]"},
    ),
    "gated": ({"x": "[1..4,6]"}, {"gated": "[1..4,6]"}),
}
# Of several inputs, and of more than one size that may differ; layers, attention and the others in the slow suite.
QUICK = ("two",)
ROUTES = [
    pytest.param(*cell, marks=() if cell[0] in QUICK else pytest.mark.slow)
    for cell in itertools.product(IR_PORTS, ("export", "trace"), ("direct", "onnx"))
]


@pytest.fixture(scope="module")
def routed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Sweep]:
    """A model by both routes to OpenVINO, of both captures; each is converted once."""
    backend("openvino")

    @functools.cache
    def sweep(model: str) -> Sweep:
        folder = tmp_path_factory.mktemp(f"routed_{model}") / "shop"
        shutil.copytree(SHOP, folder, ignore=shutil.ignore_patterns("__pycache__"))
        over = [f"model={model}", "capture=export,trace", "route=direct,onnx"]
        return Sweep(Shop(folder), ["model", "capture", "route"], "target=openvino", *over)

    return sweep


@pytest.mark.parametrize(("model", "capture", "route"), ROUTES)
def test_both_routes_to_openvino_give_the_same_interface_checked_at_every_shape(
    routed: Callable[[str], Sweep], model: str, capture: str, route: str
) -> None:
    import openvino

    record = routed(model).records[model, capture, route]
    assert record["status"] == "ok", record["problems"]
    ir = openvino.Core().read_model(record["artifact"])
    for ports, expected in zip((ir.inputs, ir.outputs), IR_PORTS[model], strict=True):
        assert [(p.any_name, str(p.partial_shape)) for p in ports] == list(expected.items())
    (check,) = [s for s in record["stages"] if s["name"] == "check_compile"]
    labels = [c["label"] for c in check["notes"]["parity"]["cases"]]
    assert labels[:4] == ["example", "min", "odd", "max"]
    assert "draw 2" in labels
