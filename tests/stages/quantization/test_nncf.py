"""quantization/nncf.py: what the stages that lower a graph by NNCF share."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conversions import edited, export, quantized
from harness import IMAGE, record, reference_in, run_stage, tolerance
from torch import nn

from pipeline.errors import CheckFailed, StageError
from stages.checking.check import Check
from stages.formats import graphs
from stages.formats.ignored import Ignored
from stages.interface.interface import Dim
from stages.openvino.format import OPENVINO
from stages.quantization import nncf as nncf_library
from stages.quantization.nncf import Feed
from stages.samples import files as sample_files
from stages.samples.draw_samples import DrawSamples
from stages.samples.files import Samples

ROOT = Path(__file__).parents[3]


def drawn(reference, folder):
    return run_stage(DrawSamples({"source": "random"}, 32, None, 0), reference, folder / "samples")


def lowered(digits, folder, how):
    folder.mkdir()
    return nncf_library.lowered(digits.onnx(), how, Ignored([], [], []), {"quantization": {"says": ""}}, folder)


def test_samples_are_fed_in_the_smallest_batches_and_counted_as_often_as_they_are_taken(graph, tiny, tmp_path):
    fours = record(tiny, tmp_path / "reference", dims={"batch": Dim(4, 4, 8)}, outputs=["logits"])
    images = np.random.default_rng(0).random((10, *IMAGE["input"].shape[1:]), np.float32)
    feed = Feed(replace(graph, facts={**graph.facts, **fours.facts}), Samples({"input": images}))
    assert feed.count == 0
    for _ in range(2):
        assert [len(arrays["input"]) for arrays in feed] == [4, 4, 4]  # the last filled up with its last row
        assert feed.count == 10


def test_of_samples_that_are_not_all_taken_those_that_are_count(digits):
    feed = Feed(digits.onnx(), sample_files.read(digits.samples))
    for _, arrays in zip(range(7), feed, strict=False):
        assert arrays["images"].shape == (1, 1, 8, 8)
    assert feed.count == 7


def test_what_nncf_raises_is_told_in_one_line_with_its_cause(digits, tmp_path):
    def fails(nncf, model, scope):
        raise ValueError("no such thing\nand a trace of it")

    with pytest.raises(StageError, match=r"^NNCF cannot do this: ValueError: no such thing$") as caught:
        lowered(digits, tmp_path / "made", fails)
    assert isinstance(caught.value.__cause__, ValueError)


def test_an_outcome_of_ours_passes_through_nncf_as_it_is(digits, tmp_path):
    ours = CheckFailed("too far off", allowed="less", command="another")

    def fails(nncf, model, scope):
        raise ours

    with pytest.raises(CheckFailed) as caught:
        lowered(digits, tmp_path / "made", fails)
    assert caught.value is ours


def test_the_root_logger_is_as_it_was_afterwards(digits, tmp_path):
    root = logging.getLogger()
    before = root.level, list(root.handlers)

    def meddles(nncf, model, scope):
        root.addHandler(logging.StreamHandler())
        root.setLevel(logging.CRITICAL)
        return model

    lowered(digits, tmp_path / "made", meddles)
    assert (root.level, root.handlers) == before


QUIET = """
import json, sys
sys.path[:0] = ["tests"]
from pathlib import Path
from conversions import quantized
from pipeline.artifact import Artifact, Kind
from stages.onnx.format import ONNX
house = Path(sys.argv[1])
facts = json.loads((house / "facts.json").read_text())
quantized(Artifact(ONNX, house / "graph", facts), Artifact(Kind.SAMPLES, house / "samples", facts), house / "int8")
print("done")
"""


@pytest.mark.slow
def test_nncf_writes_nothing_to_the_screen_from_its_first_import_on(digits, tmp_path):
    (tmp_path / "graph").symlink_to(digits.onnx().folder)
    (tmp_path / "samples").symlink_to(digits.samples.folder)
    (tmp_path / "facts.json").write_text(json.dumps({**digits.onnx().facts, **digits.samples.facts}))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", QUIET, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)


def test_it_writes_nothing_where_python_has_a_stdout_of_its_own(digits, kind, tmp_path, capsys):
    quantized(digits.graph(kind), digits.samples, tmp_path / "made")
    assert capsys.readouterr() == ("", "")


class Depthwise(nn.Module):
    """Each channel of a magnitude of its own before a convolution of each channel by itself."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.spread = nn.Conv2d(3, 8, 1)
        self.each = nn.Conv2d(8, 8, 3, groups=8, bias=False)
        self.head = nn.Linear(8, 10)
        self.spread.weight.data *= torch.linspace(1, 4, 8).view(-1, 1, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.each(self.spread(x).relu()).relu().mean((2, 3)))


class Stacked(nn.Module):
    """A product with one matrix for each channel."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stack = nn.Parameter(torch.randn(3, 32, 16))
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head((x @ self.stack).relu().mean((1, 2)))


@pytest.mark.parametrize(("net", "operations"), [(Depthwise, {"int8": 3}), (Stacked, {"int8": 1, "float32": 1})])
def test_onnxruntime_runs_in_int8_what_nncf_by_itself_would_have_it_refuse(tmp_path, net, operations):
    graph = export("trace", net(), tmp_path, inputs=IMAGE)
    reference = reference_in(tmp_path)
    quantised = quantized(graph, drawn(reference, tmp_path), tmp_path / "int8")
    assert graphs.read(quantised).operations() == operations
    onnxruntime.InferenceSession(quantised.file)
    check = Check("float32", {}, [], tolerance("int8"), False)
    run_stage(check, {"artifact": quantised, "reference": reference}, tmp_path / "check")


def test_nodes_without_names_are_called_by_their_first_output_before_and_after(digits, tmp_path):
    def unname(model):
        for node in model.graph.node:
            node.name = ""

    graph = edited(digits.onnx(), tmp_path / "graph", unname)
    outputs = [node.output[0] for node in onnx.load(graph.file).graph.node]
    quantised = quantized(graph, digits.samples, tmp_path / "int8", ignored=Ignored(outputs[:1], [], []))
    built = graphs.read(quantised)
    assert {n: built.computes_in(n) for n in outputs if built.nodes[n].type in ("Conv", "Gemm")} == {
        n: "float32" if n == outputs[0] else "int8" for n in outputs if built.nodes[n].type in ("Conv", "Gemm")
    }


def test_names_that_look_like_a_counters_stay_where_the_graph_before_had_them(digits, tmp_path):
    import openvino

    model = openvino.Core().read_model(digits.graph(OPENVINO).file)
    products = [op for op in model.get_ordered_ops() if op.get_type_name() == "MatMul"]
    for number, op in zip((70, 9), products, strict=True):
        op.set_friendly_name(f"MatMul_{number}")
    (tmp_path / "ir").mkdir()
    openvino.save_model(model, tmp_path / "ir" / "model.xml", compress_to_fp16=False)
    quantised = quantized(replace(digits.graph(OPENVINO), folder=tmp_path / "ir"), digits.samples, tmp_path / "int8")
    assert [n for n, node in graphs.read(quantised).nodes.items() if node.type == "MatMul"] == ["MatMul_70", "MatMul_9"]
