"""A bundle of a language model's folder: its tokens are compared where there is nothing but numpy and the runtime."""

import json

import decoders
import pytest
from handed_over import device, flip, python, signed
from harness import backend, run_stage, shipped, tolerance

from pipeline.errors import CHECK_FAILED, OK, USAGE, StageError
from stages.delivery.save import Save

SAVE = Save("net", True, "MIT", None, None)


@pytest.fixture(scope="module")
def checked_artifact(decoder_graph, tmp_path_factory):
    """A checked folder with the record that the runner gives it, and the tokens that it was held to."""
    backend("onnxruntime_genai")
    folder = tmp_path_factory.mktemp("made")
    stage = shipped("record_tokens", prompts=[1, 9], tokens=8, seed=0)
    tokens = run_stage(stage, decoders.record_inputs(), folder / "tokens")
    laid_out = run_stage(shipped("lay_out_onnx"), decoder_graph, folder / "folder")
    check = shipped("check_generation", extensions=[], compute="float32", tolerance=tolerance("fp32"))
    claims = run_stage(check, {"artifact": laid_out, "tokens": tokens}, folder / "check").notes["claims"]
    document = {"model": "net", "drydock": "0.1.0", "kind": "onnx_generation", "facts": dict(laid_out.facts)}
    document |= {"precision": {"name": "fp32", "storage": "float32", "compute": "float32"}}
    record = {**document, "checks": [{"stage": "check_generation", "of": "lay_out", "delivered": True, **claims}]}
    return {"artifact": type(laid_out)(laid_out.kind, laid_out.folder, laid_out.facts, record=record), "tokens": tokens}


@pytest.fixture
def handed(checked_artifact, tmp_path):
    folder = tmp_path / "handed"
    inputs = {
        **checked_artifact,
        "reference": type(checked_artifact["tokens"])("reference"),
    }  # of which there is no use
    assert run_stage(SAVE, inputs, folder).notes["file"] == "model.onnx"
    for path in folder.iterdir():
        path.chmod(0o644)
    (folder / "artifact.json").write_text(json.dumps(checked_artifact["artifact"].record))
    signed(folder)
    return folder


def checked(folder, *arguments):
    place = folder.parent / "device"
    if not place.exists():
        device(place, "numpy", "onnxruntime", "onnxruntime_genai")
    run = f"import runpy; runpy.run_path({str(folder / 'selfcheck.py')!r}, run_name='__main__')"
    return python(place, run, *arguments)


def test_it_goes_on_as_the_model_did_in_the_runtime_and_by_our_own_loop(handed):
    batches = json.loads((handed / "tokens.json").read_text())["batches"]
    whole = sum(len(row) for batch in batches for row in batch["tokens"])
    for arguments, says in ((), "onnxruntime-genai 0."), (("--ours", "--threads", "1"), "our own loop"):
        done = checked(handed, *arguments)
        assert (done.returncode, done.stderr) == (OK, "")
        assert says in done.stdout
        assert f"passed    {whole} tokens are those of the PyTorch model's generate" in done.stdout
    batches = json.loads((handed / "selfcheck.json").read_text())
    assert batches["results"][0]["agrees"]


def test_other_tokens_and_a_file_that_is_another_are_exit_code_5(handed):
    document = json.loads((handed / "tokens.json").read_text())
    document["batches"][1]["tokens"][0][2] += 1
    (handed / "tokens.json").write_text(json.dumps(document))
    assert "tokens.json is not what was delivered" in checked(handed).stderr
    signed(handed)
    done = checked(handed)
    assert (done.returncode, "9 tokens: at 3 comes token" in done.stderr) == (CHECK_FAILED, True)
    flip(handed / "model.onnx")
    assert checked(handed).returncode == CHECK_FAILED


def test_the_readme_says_how_it_is_loaded_and_what_it_was_held_to(handed):
    text = (handed / "README.md").read_text()
    assert 'onnxruntime_genai.Model(".")' in text
    assert "after 1 token; 9 tokens; 1, 9 tokens, filled up on the left" in text
    assert "NOT CHECKED: tokenizer, the model came without one." in text
    assert checked(handed, "--no-such").returncode == USAGE


def test_what_no_check_looked_at_makes_no_bundle(checked_artifact, tmp_path):
    record = {**checked_artifact["artifact"].record, "checks": []}
    artifact = type(checked_artifact["artifact"])(
        checked_artifact["artifact"].kind,
        checked_artifact["artifact"].folder,
        checked_artifact["artifact"].facts,
        record=record,
    )
    inputs = {"artifact": artifact, "tokens": checked_artifact["tokens"], "reference": type(artifact)("reference")}
    with pytest.raises(StageError, match="put check_generation before save"):
        run_stage(SAVE, inputs, tmp_path / "handed")
