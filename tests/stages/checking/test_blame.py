"""checking/blame.py: the layers that a precision breaks are named, and leaving them out as told makes it whole."""

from __future__ import annotations

import copy
import json
import logging
import shlex
from dataclasses import replace

import pytest
import torch
import yaml
from conversions import export, ir, made_of, quantized
from harness import module, record, reference_in, run_stage, tolerance
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from torch import nn

from pipeline.artifact import Origin
from pipeline.errors import CheckFailed
from stages.capture.capture_trace import CaptureTrace
from stages.capture.format import EXPORTED
from stages.checking import blame as layer_blame
from stages.checking.blame import Blamed, Layer
from stages.checking.check import Check
from stages.checking.evaluate import Evaluate
from stages.formats.ignored import Ignored
from stages.formats.session import How
from stages.interface.interface import Dim, Input
from stages.onnx.cast_fp16 import CastFp16
from stages.onnx.format import ONNX
from stages.openvino.format import OPENVINO
from stages.reference import cases as reference_cases
from stages.samples.draw_samples import DrawSamples

ROWS = {"input": Input(["batch", 8], fill="normal")}
BATCH = {"batch": Dim(1, 16, 64)}
IMAGES = {"images": Input(["batch", 1, 8, 8], fill={"factory": "digits.some"})}
FLOAT32 = How("float32", None, {}, ())
HUGE = 1e5  # for 255 steps of a channel's range, each as large as all that the other channels hold


def outlier(net, before, after, columns):
    """One channel of a layer's values becomes so large that the others round to nothing; the next layer ignores it."""
    with torch.no_grad():
        before.bias[5] += HUGE
        after.weight[:, columns] = 0


# Which layer int8 breaks, by where the outlier is; the names of that layer by format.
PLACES = {
    "before a convolution": (
        lambda net: outlier(net, net.features[0], net.features[2], [5]),
        {ONNX: "/model/features/2/Conv", OPENVINO: "aten::_convolution/Convolution_1"},
    ),
    # The ranges are those of the values before the pool, which only moves them.
    "before a pool and a product": (
        lambda net: outlier(net, net.features[2], net.classifier[1], range(5 * 16, 6 * 16)),
        {ONNX: "/model/classifier/1/Gemm", OPENVINO: "aten::linear/MatMul"},
    ),
}


@pytest.fixture(scope="module")
def broken(digits, tmp_path_factory):
    """The digits' network with an outlier, by place and format: its graph, that in int8, and its reference."""
    by_place = {}

    def at(place, kind):
        if (place, kind) not in by_place:
            folder = tmp_path_factory.mktemp("broken")
            net = copy.deepcopy(digits.module.live)
            PLACES[place][0](net)
            graph = export("trace", net, folder, inputs=IMAGES, dims=BATCH, outputs=["scores"])
            if kind == OPENVINO:
                both = {"module": module(net), "reference": reference_in(folder)}
                graph = ir(run_stage(CaptureTrace(), both, folder / "program"), folder / "ir")
            int8 = quantized(graph, digits.samples, folder / "int8")
            by_place[place, kind] = graph, made_of(int8, graph), reference_in(folder)
        return by_place[place, kind]

    return at


def check(artifact, reference, folder, precision="int8", *, blame=False):
    compute = "float16" if precision == "fp16" else "float32"
    stage = Check(compute, {}, [], tolerance(precision), blame)
    return run_stage(stage, {"artifact": artifact, "reference": reference}, folder)


def refused(artifact, reference, folder, precision="int8"):
    with pytest.raises(CheckFailed) as caught:
        check(artifact, reference, folder, precision)
    (problem,) = caught.value.problems
    return problem


def to_leave_out(command, stage):
    """The names in a command, as Hydra reads them, which are those that YAML reads."""
    typed, pasted = command.split("\n  or YAML: ")
    (override,) = OverridesParser.create().parse_overrides(shlex.split(typed))
    assert override.key_or_group == f"stages.{stage}.ignored.names"
    names = [v.text if isinstance(v, QuotedString) else v for v in override.value()]
    assert yaml.safe_load(pasted) == {"stages": {stage: {"ignored": {"names": names}}}}
    return names


@pytest.mark.parametrize(
    "place", ["before a convolution", pytest.param("before a pool and a product", marks=pytest.mark.slow)]
)
def test_the_layer_that_int8_breaks_is_named_first_and_left_out_as_told_int8_agrees(
    digits, broken, kind, tmp_path, place
):
    graph, int8, reference = broken(place, kind)
    culprit = PLACES[place][1][kind]
    problem = refused(int8, reference, tmp_path / "check")
    assert f"\n    brought in by {culprit} (" in problem.what
    names = to_leave_out(problem.command, "quantize")
    assert names[0] == culprit
    again = quantized(graph, digits.samples, tmp_path / "again", ignored=Ignored(names, [], []))
    blame = check(made_of(again, graph), reference, tmp_path / "passes", blame=True).notes["blame"]
    assert {e["name"] for e in blame["layers"]}.isdisjoint(names)


class Through(nn.Module):
    """Values that are 3e6 times as large between two layers as before and after."""

    def __init__(self, *between: nn.Module, back: float = 3e6) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.up, self.between = nn.Linear(8, 8), nn.Linear(8, 8), nn.Sequential(*between)
        self.down, self.head = nn.Linear(8, 8, bias=False), nn.Linear(8, 4)
        self.up.weight.data *= 3e6
        self.down.weight.data /= back

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.down(self.between(self.up(self.stem(x)))))


class Negative(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -x


class Factors(nn.Module):
    """Factors that float16 cannot hold; cut to fit, they leave values that it can."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.head = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head((self.stem(x).sigmoid() * 1e6).relu() * 1e-6)


OVERFLOW = {
    "two layers and what is between": (Through(nn.ReLU()), ["/model/up/Gemm", "/model/between/0/Relu"]),
    # None of them can be spared: with any left the values overflow in it.
    "more layers than are told in a sentence": (
        Through(*[Negative()] * 12), ["/model/up/Gemm", "/model/between/0/Neg"],
    ),
    "factors": (Factors(), ["/model/Mul", "/model/Relu"]),
    "what only moves values": (
        Through(nn.Unflatten(1, (2, 4)), nn.Flatten()), ["/model/up/Gemm", "/model/between/0/Reshape"],
    ),
    "a layer that would bring the values back": (
        Through(nn.LayerNorm(8), back=1.0), ["/model/up/Gemm", "/model/between/0/LayerNormalization"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("net", "first"), OVERFLOW.values(), ids=OVERFLOW)
def test_layers_that_overflow_in_float16_are_named_first_and_left_out_as_told_it_agrees(tmp_path, net, first):
    graph = export("trace", net, tmp_path, inputs=ROWS)
    reference = reference_in(tmp_path)
    half = made_of(run_stage(CastFp16(Ignored([], [], []), []), graph, tmp_path / "half"), graph, "cast")
    problem = refused(half, reference, tmp_path / "check", "fp16")
    sentence = ", ".join(f"{name} ({name.rpartition('/')[2]}, overflows)" for name in first)
    assert f"\n    brought in by {sentence}" in problem.what
    names = to_leave_out(problem.command, "cast")
    assert names[:2] == first
    again = run_stage(CastFp16(Ignored(names, [], []), []), graph, tmp_path / "again")
    check(again, reference, tmp_path / "passes", "fp16")


class Masked(nn.Module):
    """Scores, some of which masks take out before the softmax, as attention does it."""

    def __init__(self, *masks: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.scores, self.head = nn.Linear(8, 8), nn.Linear(8, 4)
        self.masks = nn.ParameterList([torch.where(torch.arange(8) < 5, 0.0, mask) for mask in masks])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = self.scores(x)
        for mask in self.masks:
            scores = scores + mask
        return self.head(scores.softmax(-1))


# The second is cut to fit float16; of the third the sum is infinite there.
@pytest.mark.parametrize("masks", [(-1e4,), (torch.finfo(torch.float32).min,), (-1e5, -1e5)])
def test_a_mask_that_float16_cannot_hold_is_not_named(tmp_path, masks):
    graph = export("trace", Masked(*masks), tmp_path, inputs=ROWS)
    half = made_of(run_stage(CastFp16(Ignored([], [], []), []), graph, tmp_path / "half"), graph, "cast")
    layers = check(half, reference_in(tmp_path), tmp_path / "check", "fp16", blame=True).notes["blame"]["layers"]
    assert {e["name"] for e in layers} & {"/model/scores/Gemm", "/model/Softmax", "/model/head/Gemm"}
    assert {e["type"] for e in layers}.isdisjoint({"Add"})
    assert all(e["brought"] < 1e-2 for e in layers)


class Branches(nn.Module):
    """A layer that int8 ruins, of which hardly anything is in the answers, beside one that it hardly touches."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.wide, self.ruined, self.whole = nn.Linear(8, 8), nn.Linear(8, 4), nn.Linear(8, 4)
        outlier(self, self.wide, self.ruined, [5])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.whole(x) + 1e-3 * self.ruined(self.wide(x))


def test_a_layer_is_named_for_what_is_in_the_answers_of_its_error(tmp_path):
    graph = export("trace", Branches(), tmp_path, inputs=ROWS)
    reference = reference_in(tmp_path)
    samples = run_stage(DrawSamples({"source": "random"}, 32, None, 0), reference, tmp_path / "samples")
    int8 = made_of(quantized(graph, samples, tmp_path / "int8"), graph)
    (case, *_) = reference_cases.read(reference)
    errors = {e.name: e.error for e in layer_blame._measured(graph, int8, case.inputs, FLOAT32)}
    assert max(errors, key=errors.get) == "/model/ruined/Gemm"
    names = [e.name for e in layer_blame.layers(int8, case.inputs, "float32").layers]
    assert names[0] == "/model/whole/Gemm"
    assert "/model/ruined/Gemm" not in names


def test_where_it_agrees_the_layers_are_noted_on_request_and_only_then(digits, kind, tmp_path):
    int8 = made_of(digits.int8(kind), digits.graph(kind), "another_name")
    blame = check(int8, digits.reference, tmp_path / "check", blame=True).notes["blame"]
    assert blame["stage"] == "another_name"
    assert blame["layers"]
    assert all(0 < e["brought"] < 0.1 and set(e) == {"name", "type", "error", "brought"} for e in blame["layers"])
    assert [e["brought"] for e in blame["layers"]] == sorted((e["brought"] for e in blame["layers"]), reverse=True)
    assert "blame" not in check(int8, digits.reference, tmp_path / "again").notes


def test_notes_are_plain_json_where_a_layer_overflows(tmp_path):
    graph = export("trace", Through(nn.ReLU()), tmp_path, inputs=ROWS)
    half = made_of(run_stage(CastFp16(Ignored([], [], []), []), graph, tmp_path / "half"), graph, "cast")
    (case, *_) = reference_cases.read(reference_in(tmp_path))
    layers = layer_blame.layers(half, case.inputs, "float16").notes["blame"]["layers"]
    assert json.loads(json.dumps(layers, allow_nan=False))[0] == {
        "name": "/model/up/Gemm", "type": "Gemm", "error": "infinite", "brought": "infinite"
    }  # fmt: skip


UNTOLD = {
    "an artifact without an origin": lambda artifact, graph, tiny: replace(artifact, origin=None),
    "one that was made of nothing": lambda artifact, graph, tiny: replace(artifact, origin=Origin("open", None)),
    "one that was not lowered": lambda artifact, graph, tiny: replace(artifact, facts={**graph.facts}),
    "one made of another format": lambda artifact, graph, tiny: made_of(artifact, replace(graph, kind=EXPORTED)),
    # What goes wrong in the search must not hide what failed.
    "one that cannot be run beside its source": lambda artifact, graph, tiny: made_of(artifact, tiny),
}


@pytest.mark.parametrize("change", UNTOLD.values(), ids=UNTOLD)
def test_of_an_artifact_that_cannot_be_compared_with_its_source_no_layer_is_blamed(
    broken, graph, tmp_path, change, caplog
):
    caplog.set_level(logging.INFO, "stages.checking.blame")
    source, int8, reference = broken("before a convolution", ONNX)
    problem = refused(change(int8, source, graph), reference, tmp_path / "check")
    assert "brought in by" not in problem.what
    assert "ignored" not in problem.command
    tried = change is UNTOLD["one that cannot be run beside its source"]
    assert [r.message for r in caplog.records if r.name == "stages.checking.blame"] == [
        "the layers cannot be compared"
    ] * tried


def test_operations_that_were_left_alone_already_stay_in_the_list(digits, broken, tmp_path):
    graph, _, reference = broken("before a convolution", ONNX)
    already = ["/model/classifier/3/Gemm", "/model/features/0/Conv"]
    quantised = quantized(graph, digits.samples, tmp_path / "int8", ignored=Ignored(already, [], ["MaxPool"]))
    problem = refused(made_of(quantised, graph), reference, tmp_path / "check")
    assert to_leave_out(problem.command, "quantize")[:3] == [*already, "/model/features/2/Conv"]


def test_where_no_layer_is_off_by_itself_that_is_said(digits, tmp_path):
    """A graph that is as it was, held to another network's answers."""
    graph = digits.onnx()
    same = made_of(replace(graph, facts={**graph.facts, "ignored": vars(Ignored([], [], []))}), graph)
    other = copy.deepcopy(digits.module.live)
    other.classifier[3].bias.data += 100
    reference = record(other, tmp_path / "reference", inputs=IMAGES, dims=BATCH, outputs=["scores"])
    problem = refused(same, reference, tmp_path / "check")
    assert "\n    no layer by itself brings the error in\n" in problem.what
    assert problem.command == "a higher precision"


def test_accuracy_that_dropped_too_far_is_told_with_the_layers_too(digits, broken, kind, tmp_path):
    _, int8, _ = broken("before a convolution", kind)
    gate = Evaluate("top1", 0.01, "float32", {}, [], False)
    with pytest.raises(CheckFailed) as caught:
        run_stage(gate, {"artifact": int8, "answers": digits.answers}, tmp_path / "evaluate")
    (problem,) = caught.value.problems
    assert "brought in by" in problem.what
    assert PLACES["before a convolution"][1][kind] in to_leave_out(problem.command, "quantize")


def test_layers_that_are_compared_a_few_at_a_time_are_the_same(digits, kind, tmp_path, monkeypatch):
    int8 = made_of(digits.int8(kind), digits.graph(kind))
    (case, *_) = reference_cases.read(digits.reference)
    at_once = layer_blame.layers(int8, case.inputs, "float32")
    furthest = max(layer_blame._measured(digits.graph(kind), int8, case.inputs, FLOAT32), key=lambda e: e.error)
    monkeypatch.setattr(layer_blame, "AT_ONCE", 1)
    assert [e.name for e in layer_blame.layers(int8, case.inputs, "float32").layers] == [e.name for e in at_once.layers]
    monkeypatch.setattr(layer_blame, "TRIED", 1)
    assert [e.name for e in layer_blame.layers(int8, case.inputs, "float32").layers] == [furthest.name]


NAMES = [
    "/model/layer.0/Conv", "aten::linear/MatMul_1", "123", "0123", "1e5", "true", "Null", "nan", "-Inf", "a b", "a,b",
    "a]b", "it's", 'a"b', "a\\b", 'a\\"b', "ends\\", "Stateful/conv2d;Relu", "x=1", "{a}", "$x", "größe", "\U0001f600",
    "~a", "",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_typed_as_hydra_and_pasted_as_yaml_read_it(name):
    blamed = Blamed([Layer(name, "Conv", 1.0, 1.0), Layer("other", "Conv", 1.0, 1.0)], "quantize", [])
    assert to_leave_out(blamed.command, "quantize") == [name, "other"]


def test_a_plain_name_is_typed_as_it_is():
    blamed = Blamed([Layer("/model/layer.0/Conv", "Conv", 0.5, 0.123)], "cast", ["aten::linear/MatMul_1"])
    assert blamed.command.startswith("'stages.cast.ignored.names=[aten::linear/MatMul_1,/model/layer.0/Conv]'\n")
    assert blamed.sentence == "\n    brought in by /model/layer.0/Conv (Conv, 12.3%)"


class LargeBetween(torch.nn.Module):
    """Values beyond what float16 holds, between two products that do not show them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.wide, self.last = torch.nn.Linear(4, 32), torch.nn.Linear(32, 32), torch.nn.Linear(32, 8)
        with torch.no_grad():
            self.wide.weight *= 3e5

    def forward(self, x):
        return self.last(self.wide(self.first(x).relu()) * 1e-5)


def test_values_that_only_a_device_with_float16_would_lose_fail_too_and_left_out_they_pass(tmp_path):
    graph = export("export", LargeBetween(), tmp_path, inputs={"x": Input(["batch", 4], fill="normal")})

    def half(names, folder):
        cast = run_stage(CastFp16(Ignored(list(names), [], []), []), graph, tmp_path / folder)
        return replace(cast, origin=Origin("cast", lambda: graph))

    problem = refused(half([], "half"), reference_in(tmp_path), tmp_path / "check", "fp16")
    assert "though onnxruntime's CPU does not" in problem.what
    assert "node_linear_1 (Gemm, overflows)" in problem.what
    ignored = yaml.safe_load(problem.command.partition("or YAML: ")[2])["stages"]["cast"]["ignored"]["names"]
    check(half(ignored, "again"), reference_in(tmp_path), tmp_path / "passes", "fp16")


def test_values_that_could_not_be_looked_at_are_not_said_to_fit(tmp_path):
    graph = export("export", LargeBetween(), tmp_path, inputs={"x": Input(["batch", 4], fill="normal")})
    half = run_stage(CastFp16(Ignored([], [], []), []), graph, tmp_path / "half")

    def gone():
        raise OSError("the graph is gone")

    result = check(replace(half, origin=Origin("cast", gone)), reference_in(tmp_path), tmp_path / "check", "fp16")
    assert (
        result.notes["caution"] == "values between operations were not compared with float16's range: the graph is gone"
    )
