"""17 architectures as folders for onnxruntime-genai and openvino_genai, compared with `generate`'s tokens."""

import json

import architectures
import pytest
from command_line import run_module
from harness import backend

pytestmark = pytest.mark.slow

# By our own loop, as the runtime does not feed what they hold.
BY_OURS = {("lfm2", "onnx"), ("mamba", "onnx")}


@pytest.fixture(scope="module", params=architectures.CONFIGS)
def folder(request, tmp_path_factory):
    return architectures.folder(request.param, tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_tokens_are_generates_through_the_folders_own_runtime(folder, target, tmp_path, tmp_path_factory):
    backend({"onnx": "onnxruntime_genai", "openvino": "openvino_genai"}[target])
    store = tmp_path_factory.getbasetemp() / "store"
    overrides = [
        f"model.weights={folder}",
        f"target={target}",
        "effort=quick",
        f"store={store}",
        f"output={tmp_path}/made",
    ]
    done = run_module("pipeline", ["model=causal_lm", *overrides], tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "made" / "artifact.json").read_text())
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    (claim,) = [c["tokens"] for c in record["checks"] if "tokens" in c]
    assert bool(claim["by_ours"]) == ((kind, target) in BY_OURS)
    assert claim["texts"] == (0 if claim["by_ours"] else 7)
