"""stages/load_weights.py."""

from __future__ import annotations

import hashlib
import pickle
import shutil
from pathlib import Path

import harness
import pytest
import torch
from harness import Canary, TinyConv, contents, run_stage, world
from safetensors.torch import save_file

from pipeline.errors import ConfigError, StageError
from stages import _weights
from stages.load_weights import LoadWeights


def load(weights="random", *, factory="harness.TinyConv", kwargs=None, pretrained=None, seed=0, **settings):
    given = {"sha256": None, "checkpoint_key": None, "prefixes": ["module.", "_orig_mod."], "strict": True} | settings
    return LoadWeights(factory, kwargs or {}, str(weights), pretrained=pretrained, seed=seed, **given)


def published(weights="auto"):
    """One of the smallest models that torchvision publishes weights for."""
    return load(weights, factory="torchvision.models.squeezenet1_1", pretrained="torchvision")


@pytest.fixture
def file(tmp_path) -> Path:
    """A trained TinyConv's state dict, in a folder of the user's own."""
    path = tmp_path / "mine" / "net.pth"
    path.parent.mkdir()
    torch.manual_seed(1)
    torch.save(TinyConv().state_dict(), path)
    return path


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """An empty torch.hub folder, so that no test sees or touches the one of this machine."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def weights_of(artifact):
    return {name: tensor.tolist() for name, tensor in artifact.live.state_dict().items()}


def test_a_file_is_loaded_and_left_unchanged(file, tmp_path):
    before = contents(file.parent)
    stage = load(file).settle(world(tmp_path))
    made = run_stage(stage, {}, tmp_path / "out")
    assert weights_of(made) == {k: v.tolist() for k, v in torch.load(file, weights_only=True).items()}
    assert contents(file.parent) == before


def test_safetensors_load_the_same_weights(file, tmp_path):
    save_file(torch.load(file, weights_only=True), file.with_suffix(".safetensors"))
    first = run_stage(load(file), {}, tmp_path / "pth")
    assert weights_of(run_stage(load(file.with_suffix(".safetensors")), {}, tmp_path / "st")) == weights_of(first)


def test_the_facts_say_which_file_without_saying_where_it_was(file, tmp_path):
    made = run_stage(load(file).settle(world(tmp_path)), {}, tmp_path / "out")
    assert made.facts["weights"]["trained"] is True
    assert made.facts["weights"]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert str(tmp_path) not in str(made.facts)


def test_the_facts_say_how_large_the_model_is(tmp_path):
    made = run_stage(load(), {}, tmp_path / "out")
    # Float32: 108 + 4 of the convolution, 16 of the norm, 50 of the head; one int64 that counts batches.
    assert made.facts["source"]["bytes"] == 4 * (112 + 16 + 50) + 8


def test_keys_that_do_not_fit_are_listed(file, tmp_path):
    stage = load(file, kwargs={"classes": 7})
    with pytest.raises(StageError, match=r"weights=net.pth has 2 tensors of another shape: head.weight is \(10, 4\)"):
        run_stage(stage, {}, tmp_path / "out")


def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path):
    torch.save({"head.weight": Canary(tmp_path / "canary")}, tmp_path / "evil.pth")
    stage = load(tmp_path / "evil.pth").settle(world(tmp_path))
    with pytest.raises(StageError, match="wants to run code"):
        run_stage(stage, {}, tmp_path / "out")
    assert not (tmp_path / "canary").exists()


def test_a_published_file_that_would_run_code_is_refused_and_runs_none(hub, tmp_path):
    evil = hub / "squeezenet1_1-b8a52dc0.pth"
    torch.save({"classifier.1.weight": Canary(tmp_path / "canary")}, evil)
    with pytest.raises((pickle.UnpicklingError, StageError)):
        run_stage(published(evil), {}, tmp_path / "out")
    assert not (tmp_path / "canary").exists()


def test_a_pinned_digest_that_differs_is_refused(file, tmp_path):
    with pytest.raises(ConfigError, match=f"the configuration says {'0' * 64}"):
        load(file, sha256="0" * 64).settle(world(tmp_path))


def test_a_pinned_digest_that_agrees_is_accepted(file, tmp_path):
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert load(file, sha256=digest).settle(world(tmp_path)).sha256 == digest


def test_a_file_that_changed_since_the_plan_is_refused(file, tmp_path):
    stage = load(file).settle(world(tmp_path))
    torch.save({k: v + 1 for k, v in torch.load(file, weights_only=True).items()}, file)
    with pytest.raises(StageError, match=r"net\.pth"):  # its key would stand for weights that it does not have
        run_stage(stage, {}, tmp_path / "out")


def test_a_file_that_is_not_there_is_found_out_in_the_plan(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing.pth cannot be read"):
        load(tmp_path / "nothing.pth").settle(world(tmp_path))


def test_the_identity_is_the_content_and_not_the_place(file, tmp_path):
    elsewhere = shutil.copy(file, tmp_path / "renamed.pt")
    here = world(tmp_path)
    identity = load(file).settle(here).identity(here)
    assert load(elsewhere).settle(here).identity(here) == identity
    assert str(tmp_path) not in str(identity)


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"kwargs": {"classes": 5}}, {"factory": "harness.TwoOutputs"}], ids=lambda o: next(iter(o))
)
def test_what_changes_the_weights_changes_the_identity(tmp_path, other):
    assert load(**other).identity(world(tmp_path)) != load().identity(world(tmp_path))


def test_a_seed_does_not_matter_to_weights_from_a_file(file, tmp_path):
    here = world(tmp_path)
    assert load(file, seed=1).settle(here).identity(here) == load(file, seed=2).settle(here).identity(here)


def test_random_weights_follow_from_the_seed(tmp_path):
    first, again, other = (
        weights_of(run_stage(load(seed=s), {}, tmp_path / d)) for s, d in ((0, "a"), (0, "b"), (1, "c"))
    )
    assert first == again
    assert first["conv.weight"] != other["conv.weight"]


def test_random_weights_do_not_disturb_the_callers_generator(tmp_path):
    torch.manual_seed(7)
    undisturbed = torch.rand(3)
    torch.manual_seed(7)
    run_stage(load(), {}, tmp_path / "out")
    assert torch.equal(torch.rand(3), undisturbed)


def test_random_weights_are_marked_untrained(tmp_path):
    weights = run_stage(load(seed=3), {}, tmp_path / "out").facts["weights"]
    assert weights["trained"] is False
    assert weights["says"].startswith("UNTRAINED: drawn at random with seed 3")


@pytest.mark.parametrize("pretrained", ["torchvision", None])
def test_auto_settles_for_random_when_nothing_can_be_had(hub, tmp_path, pretrained):
    stage = load("auto", factory="torchvision.models.squeezenet1_1", pretrained=pretrained).settle(world(tmp_path))
    assert stage.weights == "random"
    assert "UNTRAINED" in stage.describe()


def test_a_plan_does_not_download(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(_weights, "fetch", lambda *_, **__: pytest.fail("a plan downloads nothing"))
    assert published().settle(world(tmp_path)).weights == "random"


def test_pretrained_that_cannot_be_had_is_refused_with_what_to_do(hub, tmp_path):
    with pytest.raises(
        ConfigError, match=r"(?s)a plan downloads nothing.*model.weights=/path/to/squeezenet1_1-b8a52dc0.pth"
    ):
        published("pretrained").settle(world(tmp_path))


@pytest.mark.parametrize("pretrained", ["torchvision", None])
def test_pretrained_without_published_weights_is_a_problem(pretrained):
    (problem,) = load("pretrained", pretrained=pretrained).problems()
    assert problem.what.startswith("weights is pretrained, but no published weights are known for harness.TinyConv")


def test_models_by_name_find_their_published_weights():
    stage = load(
        "pretrained", factory="torchvision.models.get_model", kwargs={"name": "vgg11"}, pretrained="torchvision"
    )
    assert stage.problems() == []


@pytest.mark.parametrize("weights", ["auto", "pretrained"])
def test_a_published_file_with_other_digits_than_its_name_is_refused(hub, tmp_path, weights):
    (hub / "squeezenet1_1-b8a52dc0.pth").write_bytes(b"damaged")
    with pytest.raises(ConfigError, match=r"(?s)is damaged: .*begins with b8a52dc0.*rm "):
        published(weights).settle(world(tmp_path))


def test_a_published_file_is_loaded_as_torchvision_loads_it(hub, tmp_path):
    from torchvision.models import squeezenet1_1

    state = squeezenet1_1().state_dict()
    torch.save(state, hub / "squeezenet1_1-b8a52dc0.pth")
    made = run_stage(published(hub / "squeezenet1_1-b8a52dc0.pth"), {}, tmp_path / "out")
    assert torch.equal(made.live.classifier[1].weight, state["classifier.1.weight"])


@pytest.mark.parametrize(
    ("factory", "kwargs", "says"),
    [
        ("no_such_package.Net", {}, "there is no module 'no_such_package' to import"),
        ("harness.TinyCnv", {}, "harness has no 'TinyCnv' to call, did you mean 'TinyConv'?"),
        ("harness.CONF", {}, "harness has no 'CONF' to call"),
        ("harness.nets.TinyConv", {}, "cannot be imported"),
        ("harness", {}, "factory harness"),
        ("harness.not_a_module", {}, "returned dict"),
        ("harness.TinyConv", {"clases": 3}, "does not accept kwargs.*clases"),
        ("harness.TinyConv", {"classes": 0}, "does not accept kwargs.*classes is 0"),
    ],
)
def test_a_factory_that_cannot_be_used_is_named(tmp_path, factory, kwargs, says):
    with pytest.raises(ConfigError, match=says):
        run_stage(load(factory=factory, kwargs=kwargs).settle(world(tmp_path)), {}, tmp_path / "out")


def test_a_factorys_kwargs_reach_it(tmp_path):
    assert run_stage(load(kwargs={"classes": 7}), {}, tmp_path / "out").live.head.out_features == 7


def test_a_model_that_would_answer_zero_to_everything_is_enlivened(tmp_path, monkeypatch):
    monkeypatch.setattr(harness.TinyConv, "forward", lambda self, x: x)
    monkeypatch.setattr(torch.nn.Linear, "reset_parameters", lambda self: [p.data.zero_() for p in self.parameters()])
    assert run_stage(load(), {}, tmp_path / "out").live.head.weight.any()
