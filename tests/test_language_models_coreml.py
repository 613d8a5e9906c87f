"""The architectures as stateful Core ML packages, compared with `generate`'s tokens and logits by our evaluator."""

import json

import architectures
import pytest
from command_line import run_module
from harness import backend

pytestmark = pytest.mark.slow

REFUSED = ("lfm2", "mamba")  # states of convolutions and recurrences


@pytest.mark.parametrize("kind", architectures.CONFIGS)
def test_tokens_are_generates_with_the_cache_in_states(kind, tmp_path, tmp_path_factory):
    backend("coremltools")
    folder = architectures.folder(kind, tmp_path / "model")
    store = tmp_path_factory.getbasetemp() / "store"
    overrides = [f"model.weights={folder}", "model.generation={prompts: [1, 7], tokens: 32, length: 96}"]
    more = ["target=coreml", "effort=quick", f"store={store}", f"output={tmp_path}/made"]
    done = run_module("pipeline", ["model=causal_lm", *overrides, *more], tmp_path)
    if kind in REFUSED:
        assert done.returncode == 2
        assert "Core ML's cache is keys and values" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "made" / "artifact.json").read_text())
    (claim,) = [c["tokens"] for c in record["checks"] if "tokens" in c]
    assert claim["by_ours"]
    assert {"model.mlpackage", "README.md", "config.json", "tokenizer.json"} <= {
        p.name for p in (tmp_path / "made").iterdir()
    }
