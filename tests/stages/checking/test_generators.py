"""checking/generators.py: what is measured of a language model's folder is there. No test knows a speed."""

import decoders
import pytest
from harness import backend, run_stage, shipped

from pipeline.errors import StageError
from pipeline.notes import noise


@pytest.fixture(scope="module")
def inputs(decoder_graph, tmp_path_factory):
    """A folder, the prompts, a reference, which is not looked at, and the module."""
    backend("onnxruntime_genai")
    folder = tmp_path_factory.mktemp("given")
    tokens = run_stage(
        shipped("record_tokens", prompts=[2, 9], tokens=5, seed=0), decoders.record_inputs(), folder / "tokens"
    )
    return {
        "artifact": run_stage(shipped("lay_out_onnx"), decoder_graph, folder / "made"),
        **decoders.record_inputs(),
        "tokens": tokens,
    }


def measured(inputs, folder, **settings):
    quick = {"threads": 1, "rounds": 2, "seconds": 0.01, "warmup": 0, "against": [], "compute": "float32"}
    stage = shipped("benchmark", extensions=[], **{**quick, **settings})
    return run_stage(stage, inputs, folder / "benchmark").notes


def test_the_first_token_the_prompt_and_what_follows_are_told_after_the_longest_prompt(inputs, tmp_path):
    message = measured({n: a for n, a in inputs.items() if n != "module"}, tmp_path)
    (figures,) = message["benchmark"]["contenders"].values()
    assert message["benchmark"]["case"] == {"label": "9 tokens", "shapes": "1x9 tokens, 5 follow", "items": 5}
    assert min(figures[n] for n in ("first_token_ms", "load_ms", "peak_bytes", "disk_bytes")) > 0
    assert figures["prompt_tokens_per_second"] == pytest.approx(9e3 / figures["first_token_ms"])
    assert figures["decoding_tokens_per_second"] > 0
    assert "then " in message["says"]


@pytest.mark.slow
def test_the_module_is_measured_beside_it_and_what_generates_nothing_is_told(inputs, tmp_path):
    message = measured(inputs, tmp_path, against=["eager", "torch_compile"], case="2, 9 tokens, filled up on the left")
    assert message["benchmark"]["contenders"].keys() == {"onnxruntime_genai", "eager"}
    assert message["benchmark"]["not_measured"] == {"torch_compile": "it generates no text by itself"}
    noisy = any(map(noise, message["benchmark"]["contenders"].values()))
    assert ("× the speed of eager PyTorch" in message["says"]) is not noisy


def test_a_prompt_that_was_not_asked_is_told(inputs, tmp_path):
    with pytest.raises(StageError, match="case is 9 token, and no prompt of that label was asked, did you mean"):
        measured(inputs, tmp_path, case="9 token")
