"""A decoder class of one's own, by YAML: checked with its cache to ONNX and OpenVINO, or refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from command_line import run_module
from harness import backend

pytestmark = pytest.mark.slow

YAML = """\
# A decoder of one's own.
name: mine
factory: decoder.Decoder
weights: random
inputs:
  input_ids: {shape: [batch, sequence], dtype: int64, fill: {integers: [0, 23]}}
  attention_mask: {shape: [batch, past+sequence], dtype: int64, fill: {mask: left}}
  position_ids: {shape: [batch, sequence], dtype: int64, fill: {positions: attention_mask}}
  past.0.key: {shape: [batch, 2, past, 4], dtype: float32, fill: {cache: present.0.key}}
  past.0.value: {shape: [batch, 2, past, 4], dtype: float32, fill: {cache: present.0.value}}
dims:
  batch: {min: 1, opt: 2, max: 4}
  sequence: {min: 1, opt: 7, max: 12}
  past: {min: 0, opt: 5, max: 12}
outputs: [logits, present.0.key, present.0.value]
"""


@pytest.fixture
def mine(tmp_path):
    """A folder with the model's YAML and its code, and how the command line runs there."""
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "mine.yaml").write_text(YAML)
    shutil.copy(Path(__file__).with_name("decoder.py"), tmp_path)
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}

    def run(*args):
        overrides = ["model=mine", "effort=quick", f"store={tmp_path}/store", f"output={tmp_path}/made", *args]
        return run_module("pipeline", overrides, tmp_path, env)

    return run


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_a_class_of_ones_own_is_checked_with_its_cache(mine, target, tmp_path):
    backend({"onnx": "onnxruntime", "openvino": "openvino"}[target])
    done = mine(f"target={target}")
    assert done.returncode == 0, done.stderr
    assert "worst relative error" in done.stderr


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ("+model.kwargs={fault: mask dropped}", "answers a text differently"),
        ("model.inputs.attention_mask.shape=[batch,past+sequense]", "names 'sequense', which is no dimension"),
        ("model.inputs.position_ids.fill={positions: mask}", "inputs has no such mask"),
        ("model.dims.batch.min=0", "dims.batch.min is 0"),
    ],
)
def test_what_is_wrong_is_said(mine, change, wrong):
    done = mine("target=onnx", change)
    assert done.returncode == (5 if "kwargs" in change else 2), done.stderr
    assert wrong in done.stderr
