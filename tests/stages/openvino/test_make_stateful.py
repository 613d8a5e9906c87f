"""openvino/make_stateful.py: a cache becomes states, and outputs stay those of the graph with the cache as inputs."""

from dataclasses import replace

import decoders
import numpy as np
import pytest
import torch
from harness import run_stage, shipped

from pipeline.errors import StageError
from stages.formats import session
from stages.openvino import library as openvino_library

CACHE = {"KV_CACHE_PRECISION": "f32"}


@pytest.fixture(scope="module")
def stateful(decoder_ir, tmp_path_factory):
    return run_stage(shipped("make_stateful", cache="float32"), decoder_ir, tmp_path_factory.mktemp("stateful") / "ir")


@pytest.mark.parametrize(("rows", "new", "before"), [(1, 1, 0), (3, 7, 0), (2, 1, 9), (1, 20, 30)])
def test_answers_and_what_it_holds_are_the_models_whatever_came_before(stateful, rows, new, before):
    inputs = decoders.mid_text(rows, new, before)
    outputs = session.open_session(stateful, "float32")(inputs)
    expected = decoders.Decoder().eval()(*(torch.from_numpy(v) for v in inputs.values()))
    valid = inputs["attention_mask"][:, -new:].astype(bool)
    for name, ours, theirs in zip(decoders.RETURNED, outputs.values(), expected, strict=True):
        a, b = ours, theirs.detach().numpy()
        if name == "logits":
            a, b = a[valid], b[valid]
        assert np.abs(a - b).max() < 1e-5 * np.abs(b).max(), name


def test_a_row_goes_on_with_the_state_of_another(stateful):
    settings = {**CACHE, "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino_library.load().Core().compile_model(stateful.file, "CPU", settings).create_infer_request()
    first, then = (
        {n: v for n, v in decoders.mid_text(2, *sizes).items() if n not in decoders.PAST} for sizes in ((4, 0), (1, 4))
    )
    then = {n: v[1:].repeat(2, 0) for n, v in then.items()}

    def second(*beams):
        request.reset_state()
        request.infer({**first, "beam_idx": np.int32([0, 1])})
        return np.array(request.infer({**then, "beam_idx": np.int32(beams)})["logits"])

    assert np.array_equal(second(1, 1)[0], second(0, 1)[1])
    assert not np.array_equal(second(0, 1)[0], second(0, 1)[1])


@pytest.mark.parametrize(("cache", "hint"), [("float32", "f32"), ("int8", "u8"), ("float16", "f16")])
def test_what_the_cache_is_kept_in_is_the_irs_own_word(decoder_ir, tmp_path, cache, hint):
    artifact = run_stage(shipped("make_stateful", cache=cache), decoder_ir, tmp_path / "made")
    compiled = openvino_library.load().Core().compile_model(artifact.file, "CPU")
    assert compiled.get_property("KV_CACHE_PRECISION").to_string() == hint


def test_a_cache_that_the_ir_lacks_is_told(decoder_ir, tmp_path):
    generation = decoders.GENERATION
    gone = replace(generation, cache=[*generation.cache, replace(generation.cache[0], input="past_key_values.2.key")])
    with pytest.raises(StageError, match=r"no past_key_values\.2\.key, which should be part of its cache"):
        run_stage(shipped("make_stateful", cache=None), replace(decoder_ir, facts=decoders.facts(gone)), tmp_path / "x")
