"""quantization/compress_weights.py: weights in 8 and 4 bits, of either format, that the runtimes take as they are."""

from __future__ import annotations

from dataclasses import replace

import decoders
import numpy as np
import onnxruntime
import pytest
import torch
from conversions import compress_weights, compressed, export, ir, ports, provenance
from harness import contents, reference_in, run_stage, tolerance, world
from torch import nn

from pipeline.errors import StageError
from stages.checking.check import Check
from stages.formats import graphs as stored
from stages.interface.interface import Input
from stages.onnx import file as onnx_file
from stages.onnx.format import ONNX
from stages.openvino.format import OPENVINO
from stages.portable.comparison import Tolerance
from stages.samples.draw_samples import DrawSamples

IMAGES = {"input": Input(["batch", 8, 8, 8], fill="normal")}


class EveryWeight(nn.Module):
    """Weights of each shape, square ones among them; each row and each column is of a magnitude of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 8, 3, padding=1)
        self.groups = nn.ConvTranspose2d(8, 4, 3, padding=1, groups=2)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.row = nn.Conv1d(4, 16, 1)
        self.hidden = nn.Linear(64, 64)
        self.plain = nn.Parameter(torch.randn(64, 64))
        self.stack = nn.Parameter(torch.randn(16, 64, 64))
        self.square = nn.Linear(64, 64)
        self.head = nn.Linear(64, 16)
        for weight in (p for p in self.parameters() if p.ndim > 1):
            for axis in (0, 1):
                sizes = [-1 if a == axis else 1 for a in range(weight.ndim)]
                weight.data *= 10 ** torch.linspace(-1, 0, weight.shape[axis]).view(sizes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.depthwise(self.groups(self.up(self.conv(x).relu()).relu()))
        y = self.hidden(self.row(y.flatten(2))).relu() @ self.plain
        y = (y.unsqueeze(1) @ self.stack).mean((1, 2))
        return self.head(self.square(y).relu())


@pytest.fixture(scope="module")
def every(tmp_path_factory):
    """Graphs of EveryWeight by opset, each with its reference."""
    by_shape = {}

    def at(opset):
        if opset not in by_shape:
            folder = tmp_path_factory.mktemp(f"opset{opset}")
            graph = export("export" if opset > 20 else "trace", EveryWeight(), folder, opset=opset, inputs=IMAGES)
            by_shape[opset] = graph, reference_in(folder)
        return by_shape[opset]

    return at


def check(artifact, reference, folder, limits):
    inputs = {"artifact": artifact, "reference": reference}
    return run_stage(Check("float32", {}, [], limits, False), inputs, folder / "check").notes["parity"]


CASES = [
    (13, {"mode": "int8_asym"}),
    (18, {"mode": "int8_sym"}),
    (26, {"mode": "int8_asym"}),
    (21, {"mode": "int4_sym"}),
    (26, {"mode": "int4_asym", "all_layers": True}),
    (21, {"mode": "int4_asym", "group_size": -1}),
    (None, {"mode": "int8_asym"}),
    (None, {"mode": "int8_sym"}),
    (None, {"mode": "int4_sym"}),
    (None, {"mode": "int4_asym", "all_layers": True}),
]


@pytest.mark.parametrize(("opset", "settings"), CASES, ids=str)
def test_weights_are_stored_as_asked_and_answers_are_within_the_tolerance_that_ships(digits, tmp_path, opset, settings):
    graph = digits.onnx(opset) if opset else digits.graph(OPENVINO)
    lowered = compressed(graph, tmp_path / "made", **settings)
    # Convolutions have 144 and 4608 of the 38160, the last layer 640.
    eighth = 38160 if settings["mode"].startswith("int8") else 4752 if settings.get("all_layers") else 5392
    counts = stored.read(lowered).weights()
    assert {n: counts.get(n, 0) for n in ("int8", "int4")} == {"int8": eighth, "int4": 38160 - eighth}
    assert stored.read(lowered).operations() == {"float32": 4}
    assert ports(lowered) == ports(graph)
    check(lowered, digits.reference, tmp_path, tolerance(f"{settings['mode'][:4]}_weights"))


SHAPES = [
    (13, {"mode": "int8_asym"}, 0.02),
    (18, {"mode": "int8_sym"}, 0.02),
    (21, {"mode": "int8_asym"}, 0.02),
    (26, {"mode": "int8_sym"}, 0.02),
    (21, {"mode": "int4_asym", "group_size": 16, "all_layers": True}, 0.25),
    (26, {"mode": "int4_sym", "group_size": 32}, 0.25),
    (21, {"mode": "int4_sym", "group_size": -1}, 0.25),
]


@pytest.mark.parametrize(("opset", "settings", "most"), SHAPES, ids=str)
def test_onnxruntime_runs_compressed_weights_of_every_shape_as_it_does_by_default(
    every, tmp_path, opset, settings, most
):
    graph, reference = every(opset)
    lowered = compressed(graph, tmp_path / "made", **settings)
    onnxruntime.InferenceSession(lowered.file)
    # Scales along another axis would be off by as much as the rows' magnitudes differ: tenfold.
    check(lowered, reference, tmp_path, Tolerance(most, most, 0.95, 0.0))


@pytest.mark.parametrize(("opset", "float_weights"), [(18, {"row": 64, "stack": 65536}), (21, {"row": 64})], ids=str)
def test_weights_that_onnx_has_no_such_form_for_stay_as_they_are(every, tmp_path, opset, float_weights):
    graph, _ = every(opset)
    lowered = compressed(graph, tmp_path / "made")
    before, after = stored.read(graph).weights(), stored.read(lowered).weights()
    biases = sum(p.numel() for p in EveryWeight().parameters() if p.ndim == 1)
    assert after["float32"] == biases + sum(float_weights.values())
    assert sum(after.values()) == before["float32"]
    assert lowered.notes["says"].endswith(
        f"; {len(float_weights)} operation{'s' * (len(float_weights) > 1)} left alone"
    )


def test_ir_has_a_form_for_weights_of_every_shape(every, tmp_path):
    graph, reference = every(18)
    lowered = compressed(ir(graph, tmp_path / "ir"), tmp_path / "made")
    assert stored.read(lowered).weights()["int8"] == sum(p.numel() for p in EveryWeight().parameters() if p.ndim > 1)
    check(lowered, reference, tmp_path, Tolerance(0.02, 0.02, 0.99, 0.0))


def test_a_ratio_leaves_the_layers_that_lose_most_in_8_bits(digits, kind, tmp_path):
    graph = digits.onnx(21) if kind == ONNX else digits.graph(kind)
    lowered = compressed(graph, tmp_path / "made", mode="int4_sym", ratio=0.99, all_layers=True)
    assert stored.read(lowered).weights() == {"int4": 512 * 64, "int8": 144 + 4608 + 640, "float32": 122}


def test_two_runs_are_the_same_bytes_whatever_ran_in_between(digits, kind, tmp_path):
    first = compressed(digits.graph(kind), tmp_path / "first")
    ir(digits.traced, tmp_path / "another")  # OpenVINO names nodes by a counter of the process
    assert contents(compressed(digits.graph(kind), tmp_path / "again").folder) == contents(first.folder)


def test_facts_tell_every_setting_and_are_in_the_file(digits, kind, tmp_path):
    graph = digits.onnx(21) if kind == ONNX else digits.graph(kind)
    lowered = compressed(graph, tmp_path / "made", mode="int4_asym", group_size=32)
    counts = lowered.facts["quantization"]
    four = {"mode": "int4_asym", "group_size": 32, "ratio": 1.0, "all_layers": False}
    assert counts == {
        "weights": "int4_asym weights",
        "settings": {**four, "awq": False, "embeddings": None, "head": None, "scale_estimation": False},
        "says": "int4_asym weights",
    }
    assert lowered.facts["ignored"] == {"names": [], "patterns": [], "types": []}
    assert {n: provenance(lowered)[n] for n in ("quantization", "ignored")} == {
        n: lowered.facts[n] for n in ("quantization", "ignored")
    }


class Gated(nn.Module):
    """A gated block, as language models have it: a scale before the last product can be undone in those before it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.gate, self.up, self.down = (nn.Linear(64, 64, bias=False) for _ in range(3))
        self.head = nn.Linear(64, 16)
        self.up.weight.data *= 10 ** torch.linspace(-2, 0, 64).view(-1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.down(nn.functional.silu(self.gate(x)) * self.up(x)))


@pytest.fixture(scope="module")
def gated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gated")
    rows = {"input": Input(["batch", 4, 64], fill="normal")}
    graph = export("export", Gated(), folder, opset=21, inputs=rows)
    reference = reference_in(folder)
    drawn = run_stage(DrawSamples({"source": "random"}, 32, None, 0), reference, folder / "samples")
    graphs = {ONNX: graph, OPENVINO: ir(graph, folder / "ir")}
    return graphs, reference, replace(drawn, digest="d" * 64)


@pytest.mark.parametrize("fitted", ["awq", "scale_estimation"])
def test_weights_that_are_fitted_to_samples_answer_otherwise_and_say_what_to(gated, kind, tmp_path, fitted):
    graphs, reference, samples = gated
    four = {"mode": "int4_sym", "group_size": 32}
    plain = compressed(graphs[kind], tmp_path / "plain", **four)
    lowered = compressed(graphs[kind], tmp_path / "made", samples=samples, **four, **{fitted: True})
    counts = lowered.facts["quantization"]
    assert counts["settings"][fitted] is True
    assert counts["samples"] == {"from": "RANDOM draws", "count": 32, "seed": 0, "digest": "d" * 64}
    assert counts["taken"] == 32
    assert counts["says"] == "int4_sym weights, calibrated on 32 samples: RANDOM draws"
    limits = tolerance("int4_weights")
    cases, before = (check(a, reference, a.folder.with_suffix(".of"), limits)["cases"] for a in (lowered, plain))
    assert cases != before


def test_samples_that_nothing_is_fitted_to_are_not_told_of(digits, tmp_path):
    lowered = compressed(digits.graph(OPENVINO), tmp_path / "made", samples=digits.samples)
    assert "samples" not in lowered.facts["quantization"]


def test_fitting_without_samples_is_told_with_what_draws_them(digits, tmp_path):
    with pytest.raises(StageError, match="awq and scale_estimation fit to samples, and no stage before") as caught:
        compressed(digits.graph(OPENVINO), tmp_path / "made", mode="int4_sym", awq=True)
    assert "draw_samples 'stages.quantize.needs=[calibration]'" in caught.value.problems[0].command


def test_a_group_size_that_divides_no_row_is_told_with_one_that_does(digits, tmp_path):
    with pytest.raises(StageError, match="group_size is 24, and this graph has rows of 64, 512 weights") as caught:
        compressed(digits.graph(OPENVINO), tmp_path / "made", mode="int4_sym", group_size=24, all_layers=True)
    assert caught.value.problems[0].allowed == "what divides 64; -1 for whole rows"


OPSETS = [
    ("int8_asym", 12, "13 to 26", "opset=13"),
    ("int8_sym", 27, "13 to 26", "opset=26"),
    ("int4_sym", 18, "21 to 26", "opset=21"),
    ("int4_asym", 27, "21 to 26", "opset=26"),
]


@pytest.mark.parametrize(("mode", "opset", "allowed", "command"), OPSETS)
def test_an_opset_that_weights_cannot_be_said_at_is_refused_before_any_work(mode, opset, allowed, command):
    (problem,) = compress_weights(mode=mode, graph_opset=opset).problems()
    assert problem.what.startswith(f"{mode} weights at opset {opset} cannot be")
    assert (problem.allowed, problem.command) == (f"opset {allowed}", command)


@pytest.mark.parametrize(("mode", "opset"), [("int8_asym", 12), ("int4_sym", 18)])
def test_a_file_of_such_an_opset_is_refused(digits, tmp_path, mode, opset):
    with pytest.raises(StageError) as caught:
        compressed(digits.onnx(opset), tmp_path / "made", mode=mode)
    assert caught.value.problems == tuple(compress_weights(mode=mode, graph_opset=opset).problems())


def test_the_opset_stays(digits, tmp_path):
    lowered = compressed(digits.onnx(13), tmp_path / "made")
    assert onnx_file.opset(onnx_file.read(lowered.file)) == 13


WRONG = [
    ({"mode": "int4"}, "mode is int4, did you mean", "int8_asym, int8_sym, int4_asym, int4_sym"),
    ({"group_size": 64}, "group_size is 64, and int8_asym has one scale for each row", "null"),
    ({"ratio": 1.0}, "ratio is 1.0, and int8_asym has one scale for each row", "null"),
    ({"all_layers": False}, "all_layers is False, and int8_asym has one scale for each row", "null"),
    ({"mode": "int8_sym", "awq": True}, "awq is true, and int8_sym has nothing to fit", "false; or int4_asym"),
    ({"scale_estimation": True}, "scale_estimation is true, and int8_asym has nothing to fit", "false; or int4_asym"),
    ({"mode": "int4_sym", "group_size": None}, "group_size is not set", "see the stage's YAML"),
    ({"mode": "int4_sym", "group_size": 1}, "group_size is 1", "2 or more; -1 for whole rows"),
    ({"mode": "int4_sym", "group_size": 0}, "group_size is 0", "2 or more; -1 for whole rows"),
    ({"mode": "int4_sym", "ratio": 1.5}, "ratio is 1.5", "a share from 0 to 1"),
    ({"mode": "int4_sym", "ratio": -0.1}, "ratio is -0.1", "a share from 0 to 1"),
    ({"extensions": ["bad"]}, "extensions names 'bad'", "a library"),
]


@pytest.mark.parametrize(("settings", "says", "allowed"), WRONG, ids=[says for _, says, _ in WRONG])
def test_wrong_settings_are_told_before_any_work(settings, says, allowed):
    (problem,) = compress_weights(**settings).problems()
    assert problem.what.startswith(says)
    assert problem.allowed.startswith(allowed)


def test_the_opset_that_a_graph_will_have_is_no_part_of_the_key_and_other_settings_are(tmp_path):
    here, plain = world(tmp_path), compress_weights()
    assert compress_weights(graph_opset=18).identity(here) == plain.identity(here)
    assert compress_weights(mode="int8_sym").identity(here) != plain.identity(here)


def answer(artifact):
    session = onnxruntime.InferenceSession(artifact.file, providers=["CPUExecutionProvider"])
    return session.run(None, {"ids": np.arange(96).reshape(2, 48)})[0]


BITS = [
    ({"mode": "int8_asym"}, ["int8", "int8", "int8"]),
    ({"mode": "int8_sym", "head": "float32"}, ["int8", "int8", "float32"]),
    ({"mode": "int4_sym"}, ["int8", "int4", "int8"]),
    ({"mode": "int4_sym", "all_layers": True}, ["int4", "int4", "int4"]),
    ({"mode": "int4_sym", "head": "int4"}, ["int8", "int4", "int4"]),
    ({"mode": "int4_asym", "embeddings": "float32"}, ["float32", "int4", "int8"]),
    ({"mode": "int4_sym", "all_layers": True, "head": "int8"}, ["int4", "int4", "int8"]),
]


def bits(artifact):
    """Of the table, the square matrix and the head, in this order."""
    built = stored.read(artifact)
    names_by_type = {dtype: built.holding([dtype]) for dtype in ("int4", "int8", "float32")}
    return {
        n: next(d for d, of in names_by_type.items() if of.get(n, 0) >= 4096)
        for n in ("look_up", "middle", built.head("logits"))
    }


@pytest.mark.parametrize(("settings", "expected"), BITS)
def test_embeddings_and_head_have_the_bits_that_are_chosen_for_them(settings, expected, kind, tmp_path):
    graph = decoders.words(tmp_path / "graph", tied=False)
    lowered = compressed(graph if kind == ONNX else ir(graph, tmp_path / "ir"), tmp_path / "made", **settings)
    assert [*bits(lowered).values()] == expected


@pytest.mark.parametrize(
    ("settings", "of_both"),
    [
        ({"mode": "int8_asym"}, "int8"),
        ({"mode": "int4_sym"}, "int8"),
        ({"mode": "int4_sym", "head": "int4"}, "int4"),
        ({"mode": "int4_sym", "all_layers": True, "head": "int8"}, "int8"),
    ],
)
def test_a_head_that_is_the_embedding_is_what_that_is(settings, of_both, kind, tmp_path):
    graph = decoders.words(tmp_path / "graph", tied=True)
    lowered = compressed(graph if kind == ONNX else ir(graph, tmp_path / "ir"), tmp_path / "made", **settings)
    assert [*bits(lowered).values()] == [of_both, settings["mode"][:4], of_both]
    assert stored.read(lowered).weights()[of_both] >= 96 * 64
    assert "left alone" not in lowered.notes["says"]
    if kind == ONNX:
        assert np.abs(answer(lowered) - answer(graph)).max() < 0.3 * np.abs(answer(graph)).max()


def test_one_matrix_cannot_be_two_things(tmp_path):
    graph = decoders.words(tmp_path / "graph", tied=True)
    with pytest.raises(StageError, match="head is int8 and embeddings is int4, and the two are one matrix"):
        compressed(graph, tmp_path / "made", mode="int4_sym", head="int8", embeddings="int4")
    (problem,) = compress_weights(head="int4", mode="int8_asym").problems()
    assert problem.what == "head is int4, and mode is int8_asym"
