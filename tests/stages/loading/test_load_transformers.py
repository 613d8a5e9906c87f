"""loading/load_transformers.py."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from harness import contents, run_stage, world
from pickles import Canary
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification

from pipeline.errors import ConfigError, StageError
from stages.loading import hub
from stages.loading.load_transformers import LoadTransformers

TASK = "transformers.AutoModelForSequenceClassification"
BERT = {
    "model_type": "bert",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 40,
}
TOKENS = torch.tensor([[1, 2, 3]])


def load(weights="random", *, factory=TASK, kwargs=None, sha256=None, strict=True, seed=0):
    arguments = kwargs if kwargs is not None else BERT if weights == "random" else {}
    return LoadTransformers(factory, arguments, str(weights), sha256, None, strict, seed, None, False)


def run_settled(stage, tmp_path):
    return run_stage(stage.settle(world(tmp_path)), {}, tmp_path / "out")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pristine") / "bert"
    torch.manual_seed(1)
    BertForSequenceClassification(BertConfig(**BERT)).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(pristine, tmp_path):
    """A classifier as save_pretrained writes it, to be tampered with."""
    return shutil.copytree(pristine, tmp_path / "mine")


def rewritten(folder, change):
    """The folder with its weights changed."""
    state = load_file(folder / "model.safetensors")
    save_file(change(state), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def as_bin(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def as_shards(folder):
    AutoModelForSequenceClassification.from_pretrained(folder).save_pretrained(folder, max_shard_size="4KB")
    (folder / "model.safetensors").unlink()
    assert len(list(folder.glob("*.safetensors"))) > 1
    return folder


@pytest.mark.parametrize("shape", [lambda f: f, as_bin, as_shards], ids=["safetensors", "bin", "shards"])
def test_a_folder_is_loaded_and_left_unchanged(folder, tmp_path, shape):
    shape(folder)
    expected = AutoModelForSequenceClassification.from_pretrained(folder).eval()(TOKENS).logits
    before = contents(folder)
    loaded = run_settled(load(folder), tmp_path)
    assert torch.equal(loaded.live.eval()(TOKENS).logits, expected)
    assert contents(folder) == before
    assert loaded.facts["weights"]["trained"] is True
    assert str(tmp_path) not in json.dumps([loaded.facts, loaded.notes, loaded.live.config.to_dict()])


@pytest.mark.parametrize("factory", [TASK, "transformers.BertForSequenceClassification"])
def test_random_weights_follow_from_the_seed(tmp_path, factory):
    answers = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        net = run_stage(load(factory=factory, seed=seed), {}, tmp_path / name).live.eval()
        answers.append(net(TOKENS).logits.tolist())
    assert answers[0] == answers[1] != answers[2]


def test_random_weights_are_marked_untrained_and_do_not_disturb_the_callers_generator(tmp_path):
    torch.manual_seed(7)
    undisturbed = torch.rand(3)
    torch.manual_seed(7)
    weights = run_settled(load(seed=3), tmp_path).facts["weights"]
    assert weights["says"].startswith("UNTRAINED: drawn at random with seed 3")
    assert torch.equal(torch.rand(3), undisturbed)


def test_kwargs_go_over_the_configuration(folder, tmp_path):
    config = run_settled(
        load(folder, kwargs={"attn_implementation": "eager", "layer_norm_eps": 0.5}), tmp_path
    ).live.config
    assert (config._attn_implementation, config.layer_norm_eps) == ("eager", 0.5)


def test_weights_are_float32_whatever_the_file_holds_unless_asked_for(folder, tmp_path):
    rewritten(folder, lambda s: {k: v.half() for k, v in s.items()})
    assert run_stage(load(folder).settle(world(tmp_path)), {}, tmp_path / "a").live.dtype == torch.float32
    half = load(folder, kwargs={"dtype": "float16"}).settle(world(tmp_path))
    assert run_stage(half, {}, tmp_path / "b").live.dtype == torch.float16


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"kwargs": {}}, "weights is random, but kwargs has no model_type"),
        ({"sha256": "0" * 64}, "sha256 is pinned, but weights is random"),
        ({"weights": "x", "sha256": "abc"}, "sha256 is abc"),
        ({"kwargs": {"model_type": "bert", "dtype": "int8"}}, "kwargs.dtype is int8"),
    ],
)
def test_wrong_settings_are_problems(settings, says):
    assert [p.what for p in load(**settings).problems()] == [says]


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({**BERT, "hidden_sise": 3}, r"kwargs.hidden_sise is no field of BertConfig, did you mean 'hidden_size'\?"),
        ({**BERT, "hidden_size": "x"}, "does not accept kwargs .*hidden_size"),
        ({"model_type": "brt"}, "does not accept kwargs .*Unrecognized model identifier: brt"),
        ({"model_type": "vit"}, "does not accept kwargs .*Unrecognized configuration class"),
        ({**BERT, "num_attention_heads": 3}, "does not accept kwargs .*not a multiple"),
    ],
)
def test_a_configuration_that_cannot_be_is_told(tmp_path, kwargs, says):
    with pytest.raises(ConfigError, match=says):
        run_settled(load(kwargs=kwargs), tmp_path)


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({"hidden_sise": 3}, "kwargs.hidden_sise is no field of BertConfig"),
        ({"model_type": "vit"}, "kwargs.model_type is vit, but config.json says bert"),
        ({"trust_remote_code": True}, "kwargs.trust_remote_code is no field"),
    ],
)
def test_kwargs_that_a_folders_configuration_does_not_have_are_refused(folder, tmp_path, kwargs, says):
    with pytest.raises(ConfigError, match=says):
        run_settled(load(folder, kwargs=kwargs), tmp_path)


def damage(name, keep):
    def cut(folder):
        path = folder / name
        path.write_bytes(path.read_bytes()[:keep])

    return cut


def config_with(**entries):
    def change(folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **entries}))

    return change


@pytest.mark.parametrize(
    ("tamper", "error", "says"),
    [
        (damage("model.safetensors", 100), StageError, r"cannot load config.json, model.safetensors: Safetensor"),
        (damage("model.safetensors", 0), StageError, "cannot load .*: SafetensorError"),
        (damage("config.json", 9), ConfigError, "config.json is damaged"),
        (lambda f: (f / "config.json").unlink(), ConfigError, "has no config.json; it holds model.safetensors"),
        (lambda f: (f / "model.safetensors").unlink(), ConfigError, "has no weights; it holds config.json"),
        (lambda f: next(as_shards(f).glob("*-of-*")).unlink(), ConfigError, "shards that are not there"),
        (config_with(auto_map={"AutoModel": "evil.Net"}), ConfigError, "has an auto_map, .*evil.Net"),
        (config_with(transformers_weights="evil.safetensors"), ConfigError, "nothing holds to a digest"),
        (config_with(attn_implementation="org/kernel"), ConfigError, "code from the hub"),
        (config_with(model_type="brt"), StageError, "cannot load .*brt"),
        (config_with(model_type="vit"), StageError, "cannot load .*Unrecognized configuration class"),
        (lambda f: (f / "adapter_config.json").touch(), ConfigError, "holds an adapter"),
        (
            lambda f: rewritten(f, lambda s: {k: v for k, v in s.items() if k != "classifier.weight"}),
            StageError,
            r"lacks tensors of the model: classifier.weight(?s:.*)model.strict=false",
        ),
        (
            lambda f: rewritten(f, lambda s: {**s, "classifier.bias": torch.ones(5)}),
            StageError,
            r"tensors of another shape: classifier.bias is \(5,\) in the file and \(2,\) in the model",
        ),
    ],
)
def test_a_folder_that_is_not_as_it_should_be_is_told(folder, tmp_path, tamper, error, says):
    tamper(folder)
    with pytest.raises(error, match=says):
        run_settled(load(folder), tmp_path)


def test_an_evil_pickle_runs_nothing(folder, tmp_path):
    as_bin(folder)
    torch.save({"classifier.weight": Canary(tmp_path / "canary")}, folder / "pytorch_model.bin")
    with pytest.raises(StageError, match=r"cannot load .*: UnpicklingError"):
        run_settled(load(folder), tmp_path)
    assert not (tmp_path / "canary").exists()


def test_without_strict_what_is_missing_is_drawn_and_told(folder, tmp_path):
    rewritten(folder, lambda s: {k: v for k, v in s.items() if k != "classifier.weight"})
    loaded = run_settled(load(folder, strict=False), tmp_path)
    assert loaded.notes["caution"].endswith("classifier.weight")
    assert "1 of its 25 tensors UNTRAINED" in loaded.facts["weights"]["says"]
    assert loaded.live.classifier.weight.any()


def test_what_a_model_does_not_use_is_told_and_no_error(folder, tmp_path):
    loaded = run_settled(load(folder, factory="transformers.AutoModel"), tmp_path)
    assert loaded.notes["says"] == "BertModel, not used: classifier.bias, classifier.weight"


def test_the_pinned_digest_is_of_everything_that_is_loaded(folder, tmp_path):
    settled = load(folder).settle(world(tmp_path))
    assert load(folder, sha256=settled.sha256).settle(world(tmp_path)) == settled
    config_with(layer_norm_eps=0.5)(folder)
    with pytest.raises(ConfigError, match=f"the configuration says {settled.sha256}"):
        load(folder, sha256=settled.sha256).settle(world(tmp_path))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_folder_that_changed_since_the_plan_is_refused(folder, tmp_path, name):
    settled = load(folder).settle(world(tmp_path))
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    with pytest.raises(StageError, match="changed since the plan was made"):
        run_stage(settled, {}, tmp_path / "out")


def test_the_identity_is_the_content_and_not_the_place(folder, pristine, tmp_path):
    here = world(tmp_path)
    assert load(folder).settle(here).identity(here) == load(pristine).settle(here).identity(here)
    assert str(tmp_path) not in str(load(folder).settle(here).identity(here))


@pytest.mark.parametrize("weights", ["no/such/folder", "nothing"])
def test_what_is_neither_folder_nor_repository_is_told(tmp_path, weights):
    with pytest.raises(ConfigError, match=f"weights={weights} is no folder"):
        load(weights).settle(world(tmp_path))


def test_a_repository_that_is_not_cached_is_not_downloaded_for_a_plan(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(ConfigError, match=r"weights=org/net is no folder here, and .*: a plan downloads nothing"):
        load("org/net").settle(world(tmp_path))


def test_a_cached_repository_is_its_folder(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    repo, commit = tmp_path / "hub" / "models--org--net", "0123456789abcdef0123456789abcdef01234567"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    shutil.copytree(folder, repo / "snapshots" / commit)
    loaded = run_settled(load("org/net"), tmp_path)
    assert loaded.notes["says"] == "BertForSequenceClassification, org/net@01234567"
    assert hub.is_cached(repo / "snapshots" / commit / "config.json")


def test_auto_is_the_class_that_the_folder_names(folder, tmp_path):
    settled = load(folder, factory="auto").settle(world(tmp_path))
    assert settled.factory == "transformers.BertForSequenceClassification"
    assert settled.identity(world(tmp_path)) == load(folder, factory=settled.factory).settle(world(tmp_path)).identity(
        world(tmp_path)
    )
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": None}))
    with pytest.raises(ConfigError, match=r"(?s)names no class.*model\.factory=transformers\.AutoModel for the bert"):
        load(folder, factory="auto").settle(world(tmp_path))


def test_random_weights_need_a_class():
    wrong = [p.what for p in load(factory="auto").problems()]
    assert wrong == ["weights is random, and factory is auto: no folder names a class"]


def test_the_size_of_pictures_is_the_folders_and_part_of_the_key(folder, tmp_path):
    without = load(folder).settle(world(tmp_path))
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": {"height": 48, "width": 64}}))
    settled = load(folder).settle(world(tmp_path))
    assert settled.picture == [48, 64]
    assert without.picture is None
    assert settled.identity(world(tmp_path)) != without.identity(world(tmp_path))
    assert run_settled(load(folder), tmp_path).facts["source"]["picture"] == [48, 64]
    (folder / "preprocessor_config.json").write_text("[")
    with pytest.raises(ConfigError, match=r"preprocessor_config\.json is damaged"):
        load(folder).settle(world(tmp_path))


MIXTURE = {
    "model_type": "mixtral",
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
}
MIXTURE |= {"num_attention_heads": 2, "num_key_value_heads": 1, "num_local_experts": 4}


@pytest.mark.parametrize(("setting", "way"), [({}, "batched_mm"), ({"experts_implementation": "eager"}, "eager")])
def test_a_mixture_of_experts_gathers_their_weights_unless_another_way_is_asked_for(tmp_path, setting, way):
    result = run_settled(load(factory="transformers.AutoModel", kwargs={**MIXTURE, **setting}), tmp_path)
    assert result.live.config._experts_implementation == way
    assert ("experts by batched_mm" in result.notes["says"]) is not bool(setting)
    ids = torch.arange(6).reshape(2, 3)
    with torch.no_grad():
        output = result.live(ids).last_hidden_state
        result.live.set_experts_implementation("eager")
        torch.testing.assert_close(output, result.live(ids).last_hidden_state, rtol=1e-4, atol=1e-5)
