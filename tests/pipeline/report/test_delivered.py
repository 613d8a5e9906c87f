"""The page of a run says what was delivered: inputs, outputs, and Python that loads it, which runs as it stands."""

import subprocess
import sys

import delivered_run
import pytest
from delivered_run import INTERFACE, RECORD, written
from fake_sweep import benchmark

from pipeline import report
from pipeline.report import delivered

# What the lines of Python are followed by: the output's shape says which sizes were taken.
PRINTED = "print({name: value.shape for name, value in outputs.items()})\n"


@pytest.mark.parametrize(("kind", "runtime"), [("onnx", "onnxruntime"), ("openvino", "openvino")])
def test_the_lines_that_load_it_run_as_they_stand(tmp_path, kind, runtime):
    path = written(kind, tmp_path)
    code = delivered.loading({**RECORD, "kind": kind}, path.name)
    assert f"import {runtime}" in code
    done = subprocess.run(
        [sys.executable, "-c", code + PRINTED], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "{'logits': (2, 70)}\n"), done.stderr


@pytest.mark.parametrize("kind", ["tensorrt", "of another version"])
def test_a_format_that_says_nothing_of_loading_has_no_lines(kind):
    assert delivered.loading({**RECORD, "kind": kind}, "x") is None


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    return written("onnx", tmp_path_factory.mktemp("graphs"))


def page(tmp_path, graph, record, target="onnx", **notes):
    return report.of_run(delivered_run.delivered(tmp_path / "one", record, graph, target, **notes)).read_text()


def test_the_page_names_inputs_and_outputs_with_types_shapes_and_ranges(tmp_path, graph):
    text = page(tmp_path, graph, {**RECORD, "kind": "onnx"})
    for said in (
        "<code>ids</code></td><td><code>int64</code></td><td><code>[batch, past+sequence]</code>",
        "<code>logits</code></td><td><code>float32</code></td><td><code>[batch, ?]</code>",
        "32 to 128, usually 64, multiples of 32",
        "0 to 9, usually 3",
        '<a href="./artifact/net.onnx">artifact/net.onnx</a>',
        "InferenceSession(&quot;artifact/net.onnx&quot;",
    ):
        assert said in text


@pytest.mark.parametrize("facts", [{}, {"interface": {}}, {"interface": {**INTERFACE, "dims": []}}, {"interface": 3}])
def test_a_record_that_is_not_whole_still_has_a_page(tmp_path, graph, facts):
    text = page(tmp_path, graph, {**RECORD, "kind": "onnx", "facts": facts})
    assert "The record is not whole" in text or "The record says nothing of inputs and outputs" in text


@pytest.mark.parametrize(
    ("notes", "claim"),
    [
        ({}, "<b>3.00×</b> the speed of eager PyTorch"),
        ({"eager": 1.9}, "No speed-up is claimed, since figures are noisy: eager spread 190%."),
    ],
)
def test_speed_stands_beside_eager(tmp_path, graph, notes, claim):
    measured = benchmark(8.0, by="onnx", **notes)
    text = page(tmp_path, graph, {**RECORD, "kind": "onnx"}, **measured)
    assert claim in text


def test_the_benchmark_of_a_bundle_for_tensorrt_is_said_to_be_onnxruntimes(tmp_path, graph):
    text = page(tmp_path, graph, {**RECORD, "kind": "onnx"}, "tensorrt_bundle", **benchmark(8.0, by="onnx"))
    assert "Measured by onnxruntime: it says nothing of tensorrt." in text
    assert "This runs the graph alone, not tensorrt, which the target is for" in text


def test_an_older_benchmarks_line_loses_the_ratio_that_noise_made(tmp_path, graph):
    says = "p50 0.5 ms, 40.61× the speed of eager PyTorch; NOISY: blocks differ, eager by 186%"
    text = page(tmp_path, graph, {**RECORD, "kind": "onnx"}, **benchmark(8.0, by="onnx", eager=1.9), says=says)
    assert "40.61×" not in text
    assert "p50 0.5 ms; NOISY" in text


@pytest.mark.parametrize(("kind", "is_there"), [("openvino_generation", True), ("onnx", False)])
def test_a_folder_for_text_generation_says_whose_inputs_the_table_has(tmp_path, kind, is_there):
    name = "openvino_model.xml" if is_there else "net.onnx"
    (tmp_path / name).write_bytes(b"")
    text = page(tmp_path, tmp_path / name, {**RECORD, "kind": kind})
    assert ("The table is of the model." in text) is is_there
