"""loading/load_causal_lm.py: a decoder with its cache as inputs and outputs answers as transformers' own does."""

from __future__ import annotations

import inspect
import json
from dataclasses import replace

import pytest
import torch
from architectures import CONFIGS
from harness import run_stage, world
from transformers import AutoConfig, LlamaConfig, LlamaForCausalLM

from pipeline.errors import ConfigError
from stages.interface import fills
from stages.interface.generation import Generation
from stages.interface.interface import Dim, Interface
from stages.loading.load_causal_lm import LoadCausalLm

DIMS = {"batch": Dim(1, 2, 4), "sequence": Dim(1, 7, 48), "past": Dim(0, 5, 48)}
WORDS = 40
# A prompt, the token that ends the window of 16, and some beyond it.
CALLS = (13, 3, 1, 4)
PAD = 2


def load(weights="random", *, kind="llama", dims=DIMS, **kwargs):
    made_of = type(AutoConfig.for_model(kind))
    fields = {*inspect.signature(made_of).parameters, *made_of.attribute_map}
    all_fields = {"model_type": kind, "vocab_size": WORDS, "pad_token_id": 0, "eos_token_id": 2, **kwargs}
    all_fields |= {name: value for name, value in CONFIGS[kind].items() if name in fields}
    arguments = all_fields if weights == "random" else kwargs
    return LoadCausalLm("transformers.AutoModelForCausalLM", arguments, str(weights), None, None, True, 0, dims, None)


def run_settled(stage, tmp_path):
    return run_stage(stage.settle(world(tmp_path)), {}, tmp_path / "out")


def in_calls(module, interface, ids, mask):
    """The logits of one text in several calls, and the cache after it."""
    empty = {"batch": len(ids), "past": 0}
    names = [n for n in interface.inputs if n.startswith("past")]
    cache = [torch.zeros(interface.inputs[n].at(empty)) for n in names]
    logits, start = [], 0
    for count in CALLS:
        end = start + count
        call_inputs = {"input_ids": ids[:, start:end], "attention_mask": mask[:, :end]}
        if "position_ids" in interface.inputs:
            call_inputs["position_ids"] = positions(mask)[:, start:end]
        logits_, *cache = module(*call_inputs.values(), *cache)
        logits.append(logits_)
        start = end
    return torch.cat(logits, 1), cache


def positions(mask):
    return (mask.cumsum(1) - 1).clamp(min=0)


def seldom(kind):
    """One of those whose cache has nothing that others have not."""
    quick = ("llama", "gpt2", "gemma2", "lfm2", "mamba", "bloom", "mixtral")
    return kind if kind in quick else pytest.param(kind, marks=pytest.mark.slow)


@pytest.mark.parametrize("kind", map(seldom, CONFIGS))
def test_a_text_in_calls_is_answered_as_by_transformers_in_one(tmp_path, kind):
    loaded = run_settled(load(kind=kind), tmp_path)
    module, interface = loaded.live.eval(), Interface.read(loaded)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in module.parameters():
            if weight.ndim > 1:
                weight.normal_(0, 0.3, generator=generator)
    ids = torch.randint(WORDS, (2, sum(CALLS)), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, :PAD] = 0
    own = {"position_ids": positions(mask)} if module.positions else {}
    with torch.no_grad():
        logits, cache = in_calls(module, interface, ids, mask)
        expected = module.decoder(input_ids=ids, attention_mask=mask, use_cache=False, **own).logits
    error = (logits - expected).abs()[mask.bool()].max() / expected.abs().max()
    assert error < 2e-5
    assert expected.argmax(-1).unique().numel() > 2
    shapes = [Interface.read(loaded).outputs[c.output].shape for c in Generation.read(loaded).cache]
    sizes = {"batch": 2, "past+sequence": sum(CALLS)}
    assert [list(t.shape) for t in cache] == [[sizes.get(n, n) for n in shape] for shape in shapes]


@pytest.mark.parametrize(
    ("kind", "kinds", "window", "positions"),
    [
        ("llama", {"attention"}, None, 128),
        ("gemma2", {"attention", "sliding"}, 16, 128),
        ("mistral", {"sliding"}, 16, 128),
        ("lfm2", {"attention", "conv"}, None, 128),
        ("mamba", {"conv", "ssm"}, None, 2**31 - 1),
        ("bloom", {"attention"}, None, 2**31 - 1),
    ],
)
def test_what_a_decoder_is_travels_with_it(tmp_path, kind, kinds, window, positions):
    loaded = run_settled(load(kind=kind), tmp_path)
    generation = Generation.read(loaded)
    assert ({c.kind for c in generation.cache}, generation.window, generation.positions) == (kinds, window, positions)
    assert (generation.model_type, generation.vocabulary, list(generation.eos), generation.pad) == (kind, WORDS, [2], 0)
    assert loaded.facts[fills.FACT]["attention_mask"] == {"mask": "left"}


def test_a_token_beyond_the_vocabulary_ends_nothing(tmp_path):
    loaded = run_settled(load(eos_token_id=[2, 32000]), tmp_path)
    assert list(Generation.read(loaded).eos) == [2]
    assert f"eos 32000 is beyond its vocabulary of {WORDS}" in loaded.notes["says"]


def test_names_and_shapes_are_those_that_runtimes_read(tmp_path):
    interface = Interface.read(run_settled(load(), tmp_path))
    assert list(interface.inputs)[:4] == ["input_ids", "attention_mask", "position_ids", "past_key_values.0.key"]
    assert interface.inputs["attention_mask"].shape == ["batch", "past+sequence"]
    assert interface.inputs["past_key_values.1.value"].shape == ["batch", 2, "past", 16]
    assert list(interface.outputs)[-1] == "present.1.value"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    into = tmp_path_factory.mktemp("llama") / "folder"
    LlamaForCausalLM(LlamaConfig(vocab_size=WORDS, **CONFIGS["llama"])).to(torch.bfloat16).save_pretrained(
        into, max_shard_size="50kB"
    )
    return into


def test_a_folder_of_bfloat16_in_shards_is_loaded_in_float32(tmp_path, folder):
    assert len(list(folder.glob("*.safetensors"))) > 1
    loaded = run_settled(load(folder), tmp_path)
    assert {p.dtype for p in loaded.live.parameters()} == {torch.float32}
    assert loaded.facts["weights"]["trained"]


@pytest.mark.parametrize(
    ("dims", "more", "wrong"),
    [
        ({"past": Dim(0, 5, 90)}, {}, "dims asks for 138 tokens together, .* the model has 128 positions"),
        ({}, {"max_position_embeddings": 64}, "dims asks for 96 tokens together, .* the model has 64 positions"),
    ],
)
def test_a_text_beyond_the_positions_is_refused_before_any_work(tmp_path, folder, dims, more, wrong):
    with pytest.raises(ConfigError, match=wrong):
        load(folder, dims={**DIMS, **dims}, **more).settle(world(tmp_path))


def test_a_group_size_that_does_not_divide_the_rows_is_refused_before_any_work(tmp_path, folder):
    stage = replace(load(folder), group_size=48)
    with pytest.raises(ConfigError, match="group_size is 48, and this model has rows of 64, 96 weights") as caught:
        stage.settle(world(tmp_path))
    (problem,) = caught.value.problems
    assert problem.allowed == "2, 4, 8, 16, 32; -1 for whole rows"
    assert problem.command.startswith("stages.quantize.group_size=32, or stages.load.group_size=null")
    for fits in (32, -1, None):
        replace(stage, group_size=fits).settle(world(tmp_path))


def test_code_that_came_with_the_weights_is_refused(tmp_path, folder):
    mine = tmp_path / "mine"
    mine.mkdir()
    for file in folder.iterdir():
        (mine / file.name).hardlink_to(file)
    (mine / "config.json").unlink()
    document = json.loads((folder / "config.json").read_text())
    (mine / "config.json").write_text(json.dumps({**document, "auto_map": {"AutoModelForCausalLM": "mine.Net"}}))
    with pytest.raises(ConfigError, match="has an auto_map"):
        load(mine).settle(world(tmp_path))


def test_an_empty_call_is_refused():
    (problem,) = load(dims={**DIMS, "sequence": Dim(0, 4, 8)}).problems()
    assert problem.what == "dims.sequence.min is 0: there is nothing to compute of an empty input"


def test_a_cache_of_a_type_that_no_target_takes_is_refused():
    (problem,) = load(dtype="bfloat16").problems()
    assert problem.what == "kwargs.dtype is bfloat16, and no target takes a cache of it"


def test_what_is_tied_is_weighed_once(tmp_path):
    loaded = [run_settled(load(tie_word_embeddings=tied), tmp_path / str(tied)) for tied in (True, False)]
    sizes = [one.facts["source"]["bytes"] for one in loaded]
    assert sizes[1] - sizes[0] == WORDS * CONFIGS["llama"]["hidden_size"] * 4


def test_dims_that_lack_are_told():
    (problem,) = load(dims={n: d for n, d in DIMS.items() if n != "past"}).problems()
    assert problem.what == "dims has no past"


# Fields of a configuration, and what is said.
T5 = {"d_model": 16, "num_layers": 1, "d_ff": 16, "num_heads": 2, "d_kv": 8}
BOTH = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}
XLSTM = {"hidden_size": 32, "num_hidden_layers": 1, "num_heads": 2}
BOTH |= {"mamba_d_ssm": 32, "mamba_n_heads": 2, "mamba_d_head": 16, "mamba_d_state": 8, "intermediate_size": 32}


@pytest.mark.parametrize(
    ("kind", "fields", "task", "wrong"),
    [
        ("t5", T5, "transformers.AutoModelForSeq2SeqLM", "T5ForConditionalGeneration is no decoder with a cache"),
        ("xlstm", XLSTM, "transformers.AutoModelForCausalLM", "cannot be asked with the library's usual cache"),
        ("falcon_h1", BOTH, "transformers.AutoModelForCausalLM", "a cache not known here, LinearAttentionAndFull"),
    ],
)
def test_what_has_no_cache_that_is_known_is_refused_with_what_takes_it(tmp_path, kind, fields, task, wrong):
    settings = {"model_type": kind, "vocab_size": WORDS, **fields}
    with pytest.raises(ConfigError, match=wrong) as refused:
        run_settled(LoadCausalLm(task, settings, "random", None, None, True, 0, DIMS, None), tmp_path)
    assert "model=transformers" in refused.value.problems[0].command
