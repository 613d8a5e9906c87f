"""coreml/generation/host.py: the script that a Mac runs, with the reference evaluator in Core ML's place."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import decoders
import fixed_decoder
import pytest
from harness import backend, run_stage, shipped, tolerance

from pipeline.errors import CHECK_FAILED, OK
from stages.delivery.save import Save

pytestmark = pytest.mark.slow  # each start imports coremltools

ROOT = Path(__file__).parents[4]
STAND_IN = f"""
import runpy, sys
sys.path[:0] = {[str(ROOT)]!r}
import coremltools
from stages.coreml.mil import evaluate, read

class MLModel:
    def __init__(self, path, compute_units):
        self.path, self.program = path, read.read(__import__("pathlib").Path(path))

    def get_spec(self):
        from stages.coreml import package
        return package.spec_of(self.program.path)

    def make_state(self):
        return evaluate.states(self.program)

    def predict(self, data, state):
        return dict(evaluate.evaluate(self.program, data, memory=state))

coremltools.models.MLModel = MLModel
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    backend("coremltools")
    house = tmp_path_factory.mktemp("house")
    folder = fixed_decoder.folder_of(
        fixed_decoder.stateful(fixed_decoder.package(house), house / "stateful"), house / "folder"
    )
    stage = shipped("record_tokens", prompts=[1, 11], tokens=5, seed=0, logits=True)
    tokens = run_stage(stage, decoders.record_inputs(), house / "tokens")
    settings = {"tolerance": tolerance("fp16_cache"), "compute": "float32", "properties": {}, "extensions": []}
    check = shipped("check_generation", **settings, ours=False)
    claims = run_stage(check, {"artifact": folder, "tokens": tokens}, house / "check").notes["claims"]
    record = {"model": "net", "drydock": "0.1.0", "kind": "coreml_generation", "facts": dict(folder.facts)}
    record |= {"precision": {"name": "fp32", "storage": "float32", "compute": "float32"}}
    record["checks"] = [{"stage": "check_generation", "of": "lay_out", "delivered": True, **claims}]
    package = type(folder)(folder.kind, folder.folder, folder.facts, record=record)
    inputs = {"artifact": package, "tokens": tokens, "reference": type(tokens)("reference")}
    saved = run_stage(Save("net", True, None, None, None), inputs, house / "bundle")
    assert saved.notes["copies"]["CALLING.md"] == "README.md"  # a bundle has one of its own
    sign(house / "bundle", record)
    return house / "bundle"


def sign(bundle, record):
    files = [p for p in bundle.rglob("*") if p.is_file() and p.name != "artifact.json"]
    hashes = {p.relative_to(bundle).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    (bundle / "artifact.json").write_text(json.dumps({**record, "files": sorted(hashes), "sha256": hashes}))


def check(bundle):
    start = f"import sys; sys.argv[:1] = [{str(bundle / 'selfcheck.py')!r}]\n{STAND_IN}"
    return subprocess.run([sys.executable, "-c", start], capture_output=True, text=True, check=False)


def test_a_bundle_goes_on_with_the_models_tokens_by_its_own_script_and_another_token_is_told(bundle):
    done = check(bundle)
    assert done.returncode == OK, done.stderr
    assert "our own loop, coremltools 9.0: Core ML runs programs" in done.stdout
    questions = json.loads((bundle / "tokens.json").read_text())
    questions["batches"][1]["tokens"][0][2] += 1
    (bundle / "tokens.json").chmod(0o644)
    (bundle / "tokens.json").write_text(json.dumps(questions))
    sign(bundle, json.loads((bundle / "artifact.json").read_text()))
    done = check(bundle)
    assert (done.returncode, "11 tokens: at 3 comes token" in done.stderr) == (CHECK_FAILED, True)


def test_its_readme_says_how_it_is_called_in_python_and_swift(bundle):
    readme = (bundle / "README.md").read_text()
    assert "model.predict(inputs, state=state)" in readme
    assert "model.prediction(from: inputs, using: state)" in readme
    assert "continues with the tokens of the PyTorch model's generate" in readme
