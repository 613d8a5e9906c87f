"""coreml/fix_cache.py: decoders of transformers with a cache of fixed length, compared with themselves without one."""

import json

import pytest
from harness import module, run_stage, shipped, world

from pipeline.errors import CheckFailed, ConfigError
from stages.interface.interface import Dim

DIMS = {"batch": Dim(1, 2, 4), "sequence": Dim(1, 3, 8), "past": Dim(0, 2, 8)}
SMALL = {"vocab_size": 40, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
GPT2 = {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64, **SMALL}


def stage(**settings):
    usual = {"length": 32, "dims": DIMS, "deployment_target": "iOS18", "weights": "random", "kwargs": {}}
    return shipped("fix_cache", **{**usual, **settings})


@pytest.mark.parametrize(
    ("settings", "says", "command"),
    [
        ({"length": 4}, "length is 4, and a call may have 8 tokens", "model.dims.sequence.max=4"),
        ({"length": 0}, "length is 0", "model.generation.length=2048"),
        ({"dims": {**DIMS, "batch": Dim(2, 3, 4)}}, "dims.batch.min is 2, and Core ML's cache is of one text", "min=1"),
        ({"dims": {}}, "dims has no sequence", "model.dims.sequence"),
        ({"deployment_target": "iOS17"}, "iOS17, which does not have states", "deployment_target=iOS18"),
    ],
)
def test_what_core_ml_has_no_cache_for_is_refused_before_any_work(settings, says, command):
    (problem,) = stage(**settings).problems()
    assert says in problem.what
    assert command in problem.command


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"n_positions": 24}, r"length is 32, and the model has 24 positions\n.*\n.*model\.generation\.length=24"),
        ({"model_type": "lfm2", "layer_types": ["conv", "full_attention"]}, "lfm2 has conv, and Core ML's cache is"),
        ({"model_type": "mamba", "state_size": 16}, "mamba has state_size"),
    ],
)
def test_what_a_config_json_says_is_refused_before_any_work(config, says, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=says):
        stage(weights=str(tmp_path)).settle(world(tmp_path))


def loaded(folder, **kwargs):
    settings = {"factory": "transformers.AutoModelForCausalLM", "weights": "random", "sha256": None, "revision": None}
    load = shipped("load_causal_lm", **settings, kwargs=kwargs, strict=True, seed=0, dims=DIMS)
    return run_stage(shipped("set_eval"), run_stage(load, {}, folder / "load"), folder / "eval")


@pytest.mark.slow  # each imports transformers
def test_a_decoder_is_held_to_itself_with_a_cache_that_held_other_numbers(tmp_path):
    fixed = run_stage(stage(), loaded(tmp_path, **GPT2), tmp_path / "made")
    assert "a cache of 32 tokens, one text at a time; 24 tokens in pieces as in one call" in fixed.notes["says"]
    decoder = fixed.facts["generation"]
    assert (decoder["positions"], decoder["cache"][0]) == (
        32,
        {"input": "key_cache_0", "output": "key_cache_0_new", "kind": "attention", "axis": None},
    )


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["written one on", "mask one on", "positions from zero"])
def test_a_cache_that_is_one_off_is_caught(fault, tmp_path, monkeypatch):
    import torch

    from stages.coreml.generation.fixed import FixedCache, FixedLayer

    if fault == "written one on":
        plain = FixedLayer.__init__
        monkeypatch.setattr(FixedLayer, "__init__", lambda s, k, v, b, p: plain(s, k, v, b, (p + 1).clamp(max=31)))
    elif fault == "mask one on":
        monkeypatch.setattr(FixedLayer, "get_seq_length", lambda s: s._before + 1)
    else:
        forward = FixedCache.forward
        monkeypatch.setattr(
            FixedCache, "forward", lambda s, ids, position, *past: forward(s, ids, torch.zeros_like(position), *past)
        )
    with pytest.raises(CheckFailed, match="computes a text in pieces differently from one call"):
        run_stage(stage(), loaded(tmp_path, **GPT2), tmp_path / "made")


@pytest.mark.slow
def test_a_length_beyond_the_positions_and_states_of_other_kinds_are_refused_by_name(tmp_path):
    gpt2 = loaded(tmp_path, **GPT2)
    with pytest.raises(ConfigError, match=r"length is 65, and the model has 64 positions\n.*\n.*length=64"):
        run_stage(stage(length=65), gpt2, tmp_path / "beyond")
    assert run_stage(stage(length=None), gpt2, tmp_path / "all").facts["generation"]["positions"] == 64
    mamba = loaded(tmp_path / "m", model_type="mamba", hidden_size=16, num_hidden_layers=1, state_size=4, **SMALL)
    with pytest.raises(ConfigError, match="MambaForCausalLM keeps conv, ssm states; Core ML's cache"):
        run_stage(stage(), mamba, tmp_path / "mamba")


def test_a_module_that_is_no_decoder_is_told(tmp_path):
    import torch

    from pipeline.errors import StageError

    with pytest.raises(StageError, match="no decoder with a cache"):
        run_stage(stage(), module(torch.nn.Linear(2, 2)), tmp_path / "made")
