"""The page of a run says what was delivered: inputs, outputs, and Python that loads it, which runs as it stands."""

import json
import subprocess
import sys

import pytest
from fake_sweep import FakeSweep, benchmark, finished
from onnx import TensorProto, helper, save

from pipeline import report
from pipeline.report import delivered

INTERFACE = {
    "inputs": [
        {"name": "ids", "dtype": "int64", "shape": ["batch", "past+sequence"]},
        {"name": "image", "dtype": "float32", "shape": ["batch", 3]},
    ],
    "outputs": [{"name": "logits", "dtype": "float32", "shape": ["batch", None], "path": []}],
    "dims": [
        {"name": "batch", "min": 1, "opt": 2, "max": 8, "multiple": 1},
        {"name": "past", "min": 0, "opt": 3, "max": 9, "multiple": 1},
        {"name": "sequence", "min": 32, "opt": 64, "max": 128, "multiple": 32},
    ],
}
RECORD = {
    "target": "onnx",
    "precision": {"name": "fp32", "storage": "float32", "compute": "float32"},
    "facts": {"interface": INTERFACE},
    "checks": [{"stage": "check", "of": "export", "delivered": True, "parity": {"compute": "float32"}}],
    "stages": [],
}
# What the lines of Python are followed by: the output's shape says which sizes were taken.
PRINTED = "print({name: value.shape for name, value in outputs.items()})\n"


def written(kind, folder):
    """A model file of a kind, with these inputs."""
    inputs = [
        helper.make_tensor_value_info("ids", TensorProto.INT64, ["b", "n"]),
        helper.make_tensor_value_info("image", TensorProto.FLOAT, ["b", 3]),
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", "m"])]
    nodes = [
        helper.make_node("Cast", ["ids"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["floats", "image"], ["logits"], axis=1),
    ]
    onnx = folder / "net.onnx"
    save(
        helper.make_model(
            helper.make_graph(nodes, "g", inputs, outputs), ir_version=10, opset_imports=[helper.make_opsetid("", 18)]
        ),
        onnx,
    )
    if kind == "onnx":
        return onnx
    import openvino

    openvino.save_model(openvino.Core().read_model(onnx), folder / "net.xml", compress_to_fp16=False)
    return folder / "net.xml"


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


def page(tmp_path, record, target="onnx", **notes):
    """The page of a run that delivered a file, with a record."""
    sweep = FakeSweep(tmp_path / "one")
    manifest = sweep.job("opset=18", target=target)
    manifest.finish(finished("built", "a", "18", 1e-7, size=1, **notes))
    folder = manifest.path.parent
    run = json.loads(manifest.path.read_text())
    (folder / "artifact").mkdir()
    (folder / "artifact" / "small.xml").write_text("<net/>")
    manifest.path.write_text(json.dumps({**run, "record": record, "artifact": "/gone/artifact/small.xml"}))
    return report.of_run(folder).read_text()


def test_the_page_names_inputs_and_outputs_with_types_shapes_and_ranges(tmp_path):
    text = page(tmp_path, {**RECORD, "kind": "onnx"})
    for said in (
        "<code>ids</code></td><td><code>int64</code></td><td><code>[batch, past+sequence]</code>",
        "<code>logits</code></td><td><code>float32</code></td><td><code>[batch, ?]</code>",
        "32 to 128, usually 64, multiples of 32",
        "0 to 9, usually 3",
        '<a href="./artifact/small.xml">artifact/small.xml</a>',
        "InferenceSession(&quot;artifact/small.xml&quot;",
    ):
        assert said in text


@pytest.mark.parametrize("facts", [{}, {"interface": {}}, {"interface": {**INTERFACE, "dims": []}}, {"interface": 3}])
def test_a_record_that_is_not_whole_still_has_a_page(tmp_path, facts):
    text = page(tmp_path, {**RECORD, "kind": "onnx", "facts": facts})
    assert "The record is not whole" in text or "The record says nothing of inputs and outputs" in text


@pytest.mark.parametrize(
    ("notes", "claim"),
    [
        ({}, "<b>3.00×</b> the speed of eager PyTorch"),
        ({"eager": 1.9}, "No speed-up is claimed, since figures are noisy: onnx is fine"),
    ],
)
def test_speed_stands_beside_eager(tmp_path, notes, claim):
    measured = benchmark(8.0, by="onnx", **notes)
    text = page(tmp_path, {**RECORD, "kind": "onnx"}, **measured)
    assert claim.replace("onnx is fine", "eager spread 190%") in text


def test_the_benchmark_of_a_bundle_for_tensorrt_is_said_to_be_onnxruntimes(tmp_path):
    text = page(tmp_path, {**RECORD, "kind": "onnx"}, "tensorrt_bundle", **benchmark(8.0, by="onnx"))
    assert "Measured by onnxruntime: it says nothing of tensorrt." in text
    assert "This runs the graph alone, not tensorrt, which the target is for" in text


def test_an_older_benchmarks_line_loses_the_ratio_that_noise_made(tmp_path):
    says = "p50 0.5 ms, 40.61× the speed of eager PyTorch; NOISY: blocks differ, eager by 186%"
    text = page(tmp_path, {**RECORD, "kind": "onnx"}, **benchmark(8.0, by="onnx", eager=1.9), says=says)
    assert "40.61×" not in text
    assert "p50 0.5 ms; NOISY" in text
